"""The redirect maps of one node, put together from what each object claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from types import MappingProxyType

from culvert.compile.names import socket_address_text
from culvert.compile.pod_table import PodTable
from culvert.compile.service import Claim, ServicePart
from culvert.model.codes import DUPLICATE_DESTINATION, HEADLESS_PROTOCOL_CONFLICT
from culvert.model.finding import Finding, Severity
from culvert.model.redirect import (
    Address16,
    Destination,
    DestinationKey,
    LocalFlag,
    ProxyListener,
    RedirectConfig,
    RedirectTable,
    address16,
    address_text,
)
from culvert.model.settings import Settings

NO_DESTINATIONS: Mapping[DestinationKey, Destination] = MappingProxyType({})
NOTHING_STRICT: Mapping[DestinationKey, bool] = MappingProxyType({})
NO_STRICT_PODS: Mapping[int, bool] = MappingProxyType({})


def settle_claims(services: Iterable[ServicePart]) -> tuple[list[Claim], list[Finding]]:
    """Give each virtual destination to the first Service, in the order given, that claims it."""
    owners: dict[DestinationKey, str] = {}
    granted = []
    findings = []
    for service in services:
        for claim in service.virtual:
            owner = owners.setdefault(claim.key, service.subject)
            if owner == service.subject:
                granted.append(claim)
                continue
            findings.append(
                Finding(
                    DUPLICATE_DESTINATION.id,
                    service.subject,
                    claim.field,
                    f"{_text(claim.key)} belongs to {owner}",
                    "give one of the two another address or port",
                )
            )
    return granted, findings


def compile_redirect(
    virtual: Iterable[Claim],
    services: Iterable[ServicePart],
    pods: PodTable,
    settings: Settings,
    node_addresses: Iterable[str],
    of_mesh: Mapping[DestinationKey, Destination] = NO_DESTINATIONS,
    strict: Mapping[DestinationKey, bool] = NOTHING_STRICT,
    strict_pods: Mapping[int, bool] = NO_STRICT_PODS,
) -> tuple[RedirectTable, list[Finding]]:
    """The maps of one node. ``node_addresses`` are the node's own, from which its proxy connects.

    ``of_mesh`` goes over what pods say of their own addresses; ``strict`` and ``strict_pods`` are
    passed on.

    Where several entries name one destination: a port that its pod excludes is left alone;
    otherwise a Service's virtual address wins over an endpoint, an endpoint over a pod.
    """
    of_pods, excluded = pods.destinations()
    destinations = {**of_pods, **of_mesh}
    endpoints, findings = _settle_endpoints(services)
    destinations.update(endpoints)
    destinations.update(excluded)
    destinations.update((claim.key, claim.destination) for claim in virtual)

    local = {address16(address): LocalFlag.PROXY_SOURCE for address in node_addresses}
    for proxy in settings.proxy_addresses:
        local[address16(proxy)] = LocalFlag.ACCELERATED
    of_local_pods, pod_findings = pods.local()
    local.update(of_local_pods)
    findings += pod_findings
    table = RedirectTable(destinations, pods.pods(), local, dict(strict), dict(strict_pods))
    return table, findings


def compile_redirect_config(settings: Settings) -> RedirectConfig:
    """The settings of the data path; the first proxy address of each family is used."""
    proxies = [address16(address) for address in settings.proxy_addresses]
    return RedirectConfig(
        proxy4=next((address for address in proxies if _is_ipv4(address)), None),
        proxy6=next((address for address in proxies if not _is_ipv4(address)), None),
        listener_ports={
            listener: settings.listener_ports.of(listener)
            for listener in ProxyListener
            if listener is not ProxyListener.DIRECT
        },
        accelerate=True,
        budget_bytes=settings.receive_budget_bytes,
        max_redirect_bytes=settings.redirect_max_bytes,
        identity=settings.identity,
    )


def _is_ipv4(address: Address16) -> bool:
    return ":" not in address_text(address)


def _settle_endpoints(
    services: Iterable[ServicePart],
) -> tuple[dict[DestinationKey, Destination], list[Finding]]:
    settled: dict[DestinationKey, tuple[Destination, str]] = {}
    findings = []
    for service in services:
        for claim in service.endpoints:
            known, owner = settled.setdefault(claim.key, (claim.destination, service.subject))
            wanted = claim.destination
            if known.listener is not wanted.listener:
                findings.append(
                    Finding(
                        HEADLESS_PROTOCOL_CONFLICT.id,
                        service.subject,
                        claim.field,
                        f"{owner} gives {_text(claim.key)} another protocol",
                        "give both ports the same appProtocol",
                        Severity.WARNING,
                    )
                )
                listener = _for_bytes({known.listener, wanted.listener})
            else:
                listener = known.listener
            settled[claim.key] = (Destination(listener, known.flags | wanted.flags), owner)
    return {key: destination for key, (destination, _) in settled.items()}, findings


def _for_bytes(listeners: Set[ProxyListener]) -> ProxyListener:
    """The listener for a port of which ``listeners`` are said; policies hold there as at them."""
    if ProxyListener.POD_MESH in listeners:
        return ProxyListener.POD_MESH
    if listeners & {ProxyListener.POD_LOCAL_HTTP, ProxyListener.POD_LOCAL_TCP}:
        return ProxyListener.POD_LOCAL_TCP
    return ProxyListener.POD_TCP


def _text(key: DestinationKey) -> str:
    return socket_address_text(address_text(key.address), key.port_host)
