"""The redirect maps of one node, put together from what each object claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

from culvert.compile.names import socket_address_text
from culvert.compile.service import Claim, ServicePart
from culvert.compile.workload import WorkloadPart
from culvert.model.codes import DUPLICATE_ADDRESS, DUPLICATE_DESTINATION, HEADLESS_PROTOCOL_CONFLICT
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
    workloads: Sequence[WorkloadPart],
    settings: Settings,
    node_addresses: Iterable[str],
) -> tuple[RedirectTable, list[Finding]]:
    """The maps of one node. ``node_addresses`` are the node's own, from which its proxy connects.

    Where several entries name one destination: a port that its pod excludes is left alone;
    otherwise a Service's virtual address wins over an endpoint, an endpoint over a pod.
    """
    destinations: dict[DestinationKey, Destination] = {}
    excluded: dict[DestinationKey, Destination] = {}
    for key, destination in chain.from_iterable(part.destinations for part in workloads):
        target = excluded if destination.listener is ProxyListener.DIRECT else destinations
        target[key] = destination
    endpoints, findings = _settle_endpoints(services)
    destinations.update(endpoints)
    destinations.update(excluded)
    destinations.update((claim.key, claim.destination) for claim in virtual)

    local = {address16(address): LocalFlag.PROXY_SOURCE for address in node_addresses}
    for proxy in settings.proxy_addresses:
        local[address16(proxy)] = LocalFlag.ACCELERATED
    holders = Counter(chain.from_iterable(part.addresses for part in workloads))
    for part in workloads:
        for address, flag in part.local:
            if holders[address] == 1:
                local[address] = flag
            else:
                local[address] = LocalFlag.NONE
                findings.append(_claimed_twice(part.subject, address))
    pods = dict(part.pod for part in workloads if part.pod)
    return RedirectTable(destinations, pods, local), findings


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
                listener = ProxyListener.POD_TCP
            else:
                listener = known.listener
            settled[claim.key] = (Destination(listener, known.flags | wanted.flags), owner)
    return {key: destination for key, (destination, _) in settled.items()}, findings


def _claimed_twice(subject: str, address: Address16) -> Finding:
    return Finding(
        DUPLICATE_ADDRESS.id,
        subject,
        "status.podIPs",
        f"{address_text(address)} is held by another running pod as well",
        "check the network plugin's address allocation",
    )


def _text(key: DestinationKey) -> str:
    return socket_address_text(address_text(key.address), key.port_host)
