"""What the embedded cluster understands of a Service; decoding is pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from culvert.rig.field import Field

IPV4 = "IPv4"
IPV6 = "IPv6"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service. ``target`` is a number or the name of a container port."""

    name: str
    port: int
    protocol: str
    target: int | str
    app_protocol: str | None


@dataclass(frozen=True, slots=True)
class Service:
    """A Service.

    ``cluster_ips`` are those asked for. ``families`` are those it shall have, first the main one
    (Kubernetes: ``ipFamilyPolicy``, ``ipFamilies``); IPv4 alone when it does not say.
    """

    namespace: str
    name: str
    document: Mapping[str, Any]
    selector: Mapping[str, str]
    ports: tuple[ServicePort, ...]
    headless: bool
    external_name: bool
    cluster_ips: tuple[str, ...]
    families: tuple[str, ...]
    publish_not_ready: bool
    client_ip_affinity: bool

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.name


def family_of(address: str) -> str:
    """Return the family of an address, as Kubernetes spells it."""
    return IPV6 if ":" in address else IPV4


def decode_service(namespace: str, name: str, document: Mapping[str, Any]) -> Service:
    """Decode a Service.

    Raises:
        InvalidFieldError: it is not valid.
    """
    spec = Field(document).get("spec")
    kind = spec.get("type").choice(
        "ClusterIP", "ClusterIP", "NodePort", "LoadBalancer", "ExternalName"
    )
    asked = _cluster_ips(spec)
    return Service(
        namespace=namespace,
        name=name,
        document=document,
        selector=spec.get("selector").text_map(),
        ports=tuple(_port(item) for item in spec.get("ports").items()),
        headless=asked == ("None",),
        external_name=kind == "ExternalName",
        cluster_ips=() if asked == ("None",) else asked,
        families=_families(spec, asked),
        publish_not_ready=spec.get("publishNotReadyAddresses").flag(default=False),
        client_ip_affinity=spec.get("sessionAffinity").choice("None", "None", "ClientIP")
        == "ClientIP",
    )


def _cluster_ips(spec: Field) -> tuple[str, ...]:
    several = spec.get("clusterIPs").texts()
    single = spec.get("clusterIP").text("")
    if single and several and several[0] != single:
        raise spec.get("clusterIPs").invalid("does not start with clusterIP", "make them agree")
    addresses = several or ((single,) if single else ())
    if addresses == ("None",):
        return addresses
    for address in addresses:
        try:
            ip_address(address)
        except ValueError:
            raise spec.get("clusterIP").invalid(
                f"is no address: {address!r}", "write one, or None, or leave it out"
            ) from None
    return addresses


def _families(spec: Field, asked: tuple[str, ...]) -> tuple[str, ...]:
    policy = spec.get("ipFamilyPolicy").choice(
        "SingleStack", "SingleStack", "PreferDualStack", "RequireDualStack"
    )
    named = spec.get("ipFamilies").texts()
    for family in named:
        if family not in (IPV4, IPV6):
            raise spec.get("ipFamilies").invalid(f"has {family!r}", "use IPv4 and IPv6")
    if not named and asked and asked != ("None",):
        named = tuple(family_of(address) for address in asked)
    first = named[0] if named else IPV4
    if policy == "SingleStack" and len(named) < 2:
        return (first,)
    return (first, IPV6 if first == IPV4 else IPV4)


def _port(field: Field) -> ServicePort:
    port = field.get("port").number(low=1, high=65535)
    target = field.get("targetPort")
    return ServicePort(
        name=field.get("name").text(""),
        port=port,
        protocol=field.get("protocol").choice("TCP", "TCP", "UDP", "SCTP"),
        target=target.value
        if isinstance(target.value, str)
        else target.number(port, low=1, high=65535),
        app_protocol=field.get("appProtocol").text() if field.get("appProtocol") else None,
    )
