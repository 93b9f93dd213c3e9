"""A stand-in for kube-proxy: cluster IPs translated to pods by nftables on each node.

It is what a connection meets that bypasses the mesh, and what "no mesh" means in a measurement.
See nft(8); the shape is that of kube-proxy's nftables mode: a verdict map from address, protocol
and port to a chain for each Service port.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from culvert.rig.node import Node

_TABLE = "culvert_services"
_Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True, order=True)
class ServiceRule:
    """Connections to ``address``:``port`` go to one of ``endpoints``; to none are refused.

    With ``by_client`` one client address keeps to one endpoint, as long as these do not change.
    """

    address: str
    port: int
    protocol: str
    """``tcp``, ``udp`` or ``sctp``"""
    endpoints: tuple[tuple[str, int], ...]
    by_client: bool = False


def rules_of(documents: Iterable[Mapping[str, Any]]) -> list[ServiceRule]:
    """Derive the rules from Services (with cluster IPs) and EndpointSlices; pure.

    Ready endpoints count; where there are none, those that terminate but still serve.
    """
    services: list[Mapping[str, Any]] = []
    ready: dict[_Key, set[tuple[str, int]]] = {}
    serving: dict[_Key, set[tuple[str, int]]] = {}
    for document in documents:
        if document["kind"] == "Service":
            services.append(document)
        elif document["kind"] == "EndpointSlice":
            _collect(document, ready, serving)
    rules = []
    for service in services:
        metadata, spec = service["metadata"], service["spec"]
        for address in spec.get("clusterIPs") or []:
            if address == "None":
                continue
            for port in spec.get("ports") or []:
                key = (
                    metadata["namespace"],
                    metadata["name"],
                    port.get("name") or "",
                    "IPv6" if ":" in address else "IPv4",
                )
                rules.append(
                    ServiceRule(
                        address=address,
                        port=port["port"],
                        protocol=(port.get("protocol") or "TCP").lower(),
                        endpoints=tuple(sorted(ready.get(key) or serving.get(key) or ())),
                        by_client=spec.get("sessionAffinity") == "ClientIP",
                    )
                )
    return sorted(rules)


def ruleset(rules: Iterable[ServiceRule]) -> str:
    """Return the rules as one nft script; loading it replaces the former ones in one step; pure."""
    chains: list[str] = []
    verdicts: dict[str, list[str]] = {"ip": [], "ip6": []}
    refused: dict[str, list[str]] = {"ip": [], "ip6": []}
    hairpins: dict[str, set[str]] = {"ip": set(), "ip6": set()}
    for number, rule in enumerate(rules):
        family = "ip6" if ":" in rule.address else "ip"
        element = f"{rule.address} . {rule.protocol} . {rule.port}"
        if not rule.endpoints:
            refused[family].append(element)
            continue
        verdicts[family].append(f"{element} : goto service-{number}")
        choice = f"jhash {family} saddr" if rule.by_client else "numgen random"
        targets = ", ".join(
            f"{index} : {address} . {port}" for index, (address, port) in enumerate(rule.endpoints)
        )
        chains.append(
            f" chain service-{number} {{\n"
            f"  meta l4proto {rule.protocol} dnat {family} to"
            f" {choice} mod {len(rule.endpoints)} map {{ {targets} }}\n }}\n"
        )
        hairpins[family].update(f"{address} . {address}" for address, _ in rule.endpoints)
    body = "".join(
        _sets(family, verdicts[family], refused[family], sorted(hairpins[family]))
        for family in ("ip", "ip6")
    )
    return (
        # The first line makes sure that there is a table to delete.
        f"table inet {_TABLE} {{}}\ndelete table inet {_TABLE}\ntable inet {_TABLE} {{\n"
        f"{body}{''.join(chains)}{_HOOKS}}}\n"
    )


def apply_rules(node: Node, script: str) -> None:
    """Load a script of ``ruleset`` into a node; blocks for some milliseconds.

    Raises:
        OSError: ``nft`` is not there, or refused the script.
    """
    started = node.start(
        ["nft", "-f", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _, said = started.communicate(script.encode())
    if started.returncode == 127:
        raise OSError("the program nft is missing: install the package nftables")
    if started.returncode != 0:
        raise OSError(f"nft on {node.name}: {said.decode(errors='replace').strip()}")


_HOOKS = """\
 chain translate {
  ip daddr . meta l4proto . th dport vmap @services-ip
  ip6 daddr . meta l4proto . th dport vmap @services-ip6
 }
 chain refuse {
  ip daddr . meta l4proto . th dport @refused-ip reject
  ip6 daddr . meta l4proto . th dport @refused-ip6 reject
 }
 chain nat-prerouting {
  type nat hook prerouting priority -100; policy accept;
  jump translate
 }
 chain nat-output {
  type nat hook output priority -100; policy accept;
  jump translate
 }
 chain nat-postrouting {
  type nat hook postrouting priority 100; policy accept;
  ct status dnat ip saddr . ip daddr @hairpins-ip masquerade
  ct status dnat ip6 saddr . ip6 daddr @hairpins-ip6 masquerade
 }
 chain filter-forward {
  type filter hook forward priority 0; policy accept;
  ct state new jump refuse
 }
 chain filter-output {
  type filter hook output priority 0; policy accept;
  ct state new jump refuse
 }
"""
"""The last set is for a pod that is its own endpoint: it must not see its own source address."""


def _sets(family: str, verdicts: list[str], refused: list[str], hairpins: list[str]) -> str:
    address = "ipv6_addr" if family == "ip6" else "ipv4_addr"
    key = f"{address} . inet_proto . inet_service"
    return (
        f" map services-{family} {{\n  type {key} : verdict\n{_elements(verdicts)} }}\n"
        f" set refused-{family} {{\n  type {key}\n{_elements(refused)} }}\n"
        f" set hairpins-{family} {{\n  type {address} . {address}\n{_elements(hairpins)} }}\n"
    )


def _elements(elements: list[str]) -> str:
    return f"  elements = {{ {', '.join(elements)} }}\n" if elements else ""


def _collect(
    document: Mapping[str, Any],
    ready: dict[_Key, set[tuple[str, int]]],
    serving: dict[_Key, set[tuple[str, int]]],
) -> None:
    metadata = document["metadata"]
    service = (metadata.get("labels") or {}).get("kubernetes.io/service-name", "")
    for port in document.get("ports") or []:
        key = (
            metadata["namespace"],
            service,
            port.get("name") or "",
            document.get("addressType", "IPv4"),
        )
        for endpoint in document.get("endpoints") or []:
            conditions = endpoint.get("conditions") or {}
            # An endpoint that does not say is ready (EndpointConditions in the API reference).
            is_ready = conditions.get("ready", True) is not False
            targets = {(address, port["port"]) for address in endpoint.get("addresses") or []}
            if is_ready:
                ready.setdefault(key, set()).update(targets)
            elif conditions.get("serving") and conditions.get("terminating"):
                serving.setdefault(key, set()).update(targets)
