"""From the wire shapes to the model: defaults filled in, addresses and ports checked.

Defaults are those of the Kubernetes API reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from culvert.model.address import address_version, canonical_address, packed_address
from culvert.model.endpoint import Endpoint, EndpointPort, EndpointSlice
from culvert.model.key import ObjectKey
from culvert.model.node import Namespace, Node
from culvert.model.service import Service, ServiceKind, ServicePort, TrafficDistribution
from culvert.model.workload import ContainerPort, Phase, Workload
from culvert.sources.decode import wire
from culvert.sources.decode.error import DecodeError

SERVICE_NAME_LABEL = "kubernetes.io/service-name"

_DEFAULT_NAMESPACE = "default"
_DEFAULT_SERVICE_ACCOUNT = "default"
# RFC 1123, as in k8s.io/apimachinery/pkg/util/validation.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_DEFAULT_AFFINITY_SECONDS = 10800
_TRAFFIC_DISTRIBUTIONS = {
    "": TrafficDistribution.ANYWHERE,
    # The older name of PreferSameZone.
    "PreferClose": TrafficDistribution.SAME_ZONE,
    "PreferSameZone": TrafficDistribution.SAME_ZONE,
    "PreferSameNode": TrafficDistribution.SAME_NODE,
}


def namespace(seen: wire.NamespaceObject) -> Namespace:
    """Build a Namespace."""
    return Namespace(seen.metadata.name, seen.metadata.labels or {})


def node(seen: wire.NodeObject) -> Node:
    """Build a Node. Only its addresses that are IPs are kept."""
    listed = (seen.status.addresses if seen.status else None) or ()
    addresses = tuple(entry.address for entry in listed if _is_address(entry.address))
    return Node(seen.metadata.name, seen.metadata.labels or {}, addresses)


def workload(seen: wire.PodObject) -> Workload:
    """Build a Workload.

    Raises:
        DecodeError: an address, port, phase or the name of the namespace or service account is not
            valid.
    """
    spec = seen.spec or wire.PodSpec()
    status = seen.status or wire.PodStatus()
    listed = status.pod_ips or ((wire.PodIp(status.pod_ip),) if status.pod_ip else ())
    key = _key(seen.metadata)
    ports = tuple(
        ContainerPort(
            _port(port.container_port, f"spec.containers[{i}].ports[{j}].containerPort"),
            port.name or "",
            port.protocol or "TCP",
        )
        for i, container in enumerate(spec.containers or ())
        for j, port in enumerate(container.ports or ())
    )
    service_account = spec.service_account_name or _DEFAULT_SERVICE_ACCOUNT
    _check_name("metadata.namespace", key.namespace)
    _check_name("spec.serviceAccountName", service_account)
    phase = status.phase or Phase.PENDING
    _check_choice("status.phase", phase, tuple(Phase))
    return Workload(
        namespace=key.namespace,
        name=key.name,
        # A pod in a folder of manifests need not have a UID; its name then stands in for it.
        uid=seen.metadata.uid or str(key),
        node=spec.node_name or "",
        addresses=tuple(
            _address(entry.ip, f"status.podIPs[{i}].ip") for i, entry in enumerate(listed)
        ),
        phase=Phase(phase),
        host_network=bool(spec.host_network),
        service_account=service_account,
        labels=seen.metadata.labels or {},
        annotations=seen.metadata.annotations or {},
        ports=ports,
    )


def service(seen: wire.ServiceObject) -> Service:
    """Build a Service.

    Raises:
        DecodeError: an address, port or policy is not valid.
    """
    spec = seen.spec
    key = _key(seen.metadata)
    listed = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    if spec.type == "ExternalName":
        kind = ServiceKind.EXTERNAL_NAME
    elif "None" in listed:
        kind = ServiceKind.HEADLESS
    elif spec.type in (None, "ClusterIP", "NodePort", "LoadBalancer"):
        kind = ServiceKind.CLUSTER_IP
    else:
        raise DecodeError(
            "spec.type",
            f"'{spec.type}' is not a Service type",
            "use ClusterIP, NodePort, LoadBalancer or ExternalName",
        )
    addresses = (
        tuple(_address(address, f"spec.clusterIPs[{i}]") for i, address in enumerate(listed))
        if kind is ServiceKind.CLUSTER_IP
        else ()
    )
    affinity = spec.session_affinity or "None"
    _check_choice("spec.sessionAffinity", affinity, ("None", "ClientIP"))
    internal_policy = spec.internal_traffic_policy or "Cluster"
    _check_choice("spec.internalTrafficPolicy", internal_policy, ("Cluster", "Local"))
    distribution = spec.traffic_distribution or ""
    _check_choice("spec.trafficDistribution", distribution, tuple(_TRAFFIC_DISTRIBUTIONS))
    config = spec.session_affinity_config
    timeout = config.client_ip.timeout_seconds if config and config.client_ip else None
    return Service(
        namespace=key.namespace,
        name=key.name,
        kind=kind,
        cluster_addresses=addresses,
        ports=tuple(_service_port(i, port) for i, port in enumerate(spec.ports or ())),
        external_name=spec.external_name or "",
        client_ip_affinity=affinity == "ClientIP",
        affinity_timeout_seconds=timeout or _DEFAULT_AFFINITY_SECONDS,
        local_endpoints_only=internal_policy == "Local",
        traffic_distribution=_TRAFFIC_DISTRIBUTIONS[distribution],
        publish_not_ready_addresses=bool(spec.publish_not_ready_addresses),
        labels=seen.metadata.labels or {},
        annotations=seen.metadata.annotations or {},
    )


def endpoint_slice(seen: wire.EndpointSliceObject) -> EndpointSlice:
    """Build an EndpointSlice. One of DNS names (``FQDN``) has no endpoints for the mesh.

    Raises:
        DecodeError: it names no Service, or an address, port or address type is not valid.
    """
    key = _key(seen.metadata)
    service_name = (seen.metadata.labels or {}).get(SERVICE_NAME_LABEL)
    if not service_name:
        raise DecodeError(
            f"metadata.labels[{SERVICE_NAME_LABEL}]",
            "is missing, so the slice belongs to no Service",
            "add the label with the Service's name",
        )
    _check_choice("addressType", seen.address_type, ("IPv4", "IPv6", "FQDN"))
    is_fqdn = seen.address_type == "FQDN"
    version = 6 if seen.address_type == "IPv6" else 4
    return EndpointSlice(
        namespace=key.namespace,
        name=key.name,
        service=service_name,
        ip_version=version,
        ports=tuple(
            EndpointPort(
                _port(port.port, f"ports[{i}].port"), port.name or "", port.protocol or "TCP"
            )
            for i, port in enumerate(seen.ports or ())
            # Without a number the slice means all ports, which no Service port can.
            if port.port is not None
        ),
        endpoints=()
        if is_fqdn
        else tuple(
            _endpoint(i, endpoint, key.namespace, version)
            for i, endpoint in enumerate(seen.endpoints or ())
        ),
    )


def _service_port(index: int, port: wire.ServicePortObject) -> ServicePort:
    field = f"spec.ports[{index}]"
    protocol = port.protocol or "TCP"
    _check_choice(f"{field}.protocol", protocol, ("TCP", "UDP", "SCTP"))
    number = _port(port.port, f"{field}.port")
    target = number if port.target_port is None else port.target_port
    if isinstance(target, int):
        _port(target, f"{field}.targetPort")
    return ServicePort(number, port.name or "", protocol, port.app_protocol or "", target)


def _endpoint(index: int, seen: wire.EndpointObject, namespace: str, version: int) -> Endpoint:
    field = f"endpoints[{index}]"
    if not seen.addresses:
        raise DecodeError(f"{field}.addresses", "is empty", "give the endpoint an address")
    addresses = []
    for i, text in enumerate(seen.addresses):
        address = _address(text, f"{field}.addresses[{i}]")
        if address_version(address) != version:
            raise DecodeError(
                f"{field}.addresses[{i}]",
                f"'{text}' is not of the slice's addressType",
                "keep one address family per slice",
            )
        addresses.append(address)
    conditions = seen.conditions or wire.EndpointConditions()
    ready = conditions.ready is not False
    target = seen.target_ref
    is_pod = target is not None and target.kind == "Pod" and target.name
    return Endpoint(
        addresses=tuple(addresses),
        ready=ready,
        serving=ready if conditions.serving is None else conditions.serving,
        terminating=bool(conditions.terminating),
        node=seen.node_name or "",
        zone=seen.zone or "",
        target=ObjectKey(target.namespace or namespace, target.name)
        if is_pod and target and target.name
        else None,
    )


def _key(metadata: wire.Metadata) -> ObjectKey:
    if not metadata.name:
        raise DecodeError("metadata.name", "is empty", "give the object a name")
    return ObjectKey(metadata.namespace or _DEFAULT_NAMESPACE, metadata.name)


def _check_choice(field: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        words = ", ".join(choice for choice in choices if choice)
        raise DecodeError(field, f"'{value}' is not a value of it", f"use one of {words}")


def _check_name(field: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise DecodeError(
            field,
            f"'{name[:100]}' is not a name",
            "use lower-case letters, digits, hyphens and dots, at most 253 of them",
        )


def _port(number: int | None, field: str) -> int:
    if number is None or not 0 < number < 65536:
        raise DecodeError(field, f"{number} is not a port", "use a number from 1 to 65535")
    return number


def _address(text: str, field: str) -> str:
    try:
        return canonical_address(text)
    except ValueError:
        raise DecodeError(
            field, f"'{text}' is not an IP address", "write an IPv4 or IPv6 address"
        ) from None


def _is_address(text: str) -> bool:
    try:
        packed_address(text)
    except ValueError:
        return False
    return True
