"""Give cluster IPs to Services that have none; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from culvert.model.finding import Finding
from culvert.rig.codes import CLUSTER_IP_TAKEN
from culvert.rig.service import IPV4, IPV6, Service, family_of

SERVICE_CIDRS: Mapping[str, IPv4Network | IPv6Network] = {
    IPV4: IPv4Network("10.96.0.0/16"),
    IPV6: IPv6Network("fd00:10:96::/112"),
}

_RESERVED = 16
"""The first addresses are never given out, so that fixed ones can be chosen there."""

ClusterIps = Mapping[tuple[str, str], tuple[str, ...]]
"""Service -> its addresses, in the order of its families."""


def assign_cluster_ips(
    services: Iterable[Service],
    have: ClusterIps,
    cidrs: Mapping[str, IPv4Network | IPv6Network] = SERVICE_CIDRS,
) -> tuple[ClusterIps, list[Finding]]:
    """Assign every Service its addresses; those it already has stay.

    What a Service asks for comes first. A new address follows from the Service's name as long as
    that one is free, so that a restart brings the same ones.
    """
    ordered = sorted(
        (s for s in services if not s.headless and not s.external_name), key=lambda s: s.key
    )
    findings: list[Finding] = []
    owners: dict[str, tuple[str, str]] = {}
    asked: dict[tuple[str, str], dict[str, str]] = {}
    refused: set[tuple[str, str]] = set()
    for service in ordered:
        for text in service.cluster_ips:
            address = str(ip_address(text))
            if address in owners:
                other = "/".join(owners[address])
                findings.append(
                    Finding(
                        CLUSTER_IP_TAKEN.id,
                        f"Service {service.namespace}/{service.name}",
                        "spec.clusterIP",
                        f"{address} belongs to Service {other}",
                        "choose another, or leave it out",
                    )
                )
                refused.add(service.key)
                break
            owners[address] = service.key
            asked.setdefault(service.key, {})[family_of(address)] = address
    kept: dict[tuple[str, str], dict[str, str]] = {}
    for service in ordered:
        for address in have.get(service.key, ()):
            if address not in owners:
                owners[address] = service.key
                kept.setdefault(service.key, {})[family_of(address)] = address
    result: dict[tuple[str, str], tuple[str, ...]] = {}
    for service in ordered:
        if service.key in refused:
            continue
        addresses = []
        for family in service.families:
            address = (
                asked.get(service.key, {}).get(family)
                or kept.get(service.key, {}).get(family)
                or _free(service.key, cidrs[family], owners)
            )
            owners[address] = service.key
            addresses.append(address)
        result[service.key] = tuple(addresses)
    return result, findings


def _free(
    key: tuple[str, str], cidr: IPv4Network | IPv6Network, taken: Mapping[str, object]
) -> str:
    size = cidr.num_addresses - _RESERVED - 1
    start = int.from_bytes(sha256("/".join(key).encode()).digest()[:4], "big")
    for step in range(size):
        address = str(ip_network(cidr)[_RESERVED + (start + step) % size])
        if address not in taken:
            return address
    raise RuntimeError(f"all addresses of {cidr} are taken")
