"""What was measured, as values: client logs, verdict counters and Envoy's counters; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from culvert.status.document import VerdictCount


@dataclass(frozen=True, slots=True)
class ClientReading:
    """One load client. Latencies in milliseconds, of the last second; counts since its start."""

    pod: str
    node: str
    service: str
    per_second: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    requests: int = 0
    failures: int = 0
    answers: tuple[str, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)


def read_client(pod: str, node: str, service: str, lines: Iterable[str]) -> ClientReading:
    """Add up the lines a load client printed; a line that is not whole yet is left out."""
    requests = failures = 0
    reasons: dict[str, int] = {}
    last: Mapping[str, Any] = {}
    for line in lines:
        try:
            document = json.loads(line)
        except json.JSONDecodeError:
            continue
        if not isinstance(document, dict) or document.get("summary"):
            continue
        requests += document["requests"]
        failures += document["failures"]
        for reason, count in document.get("reasons", {}).items():
            reasons[reason] = reasons.get(reason, 0) + count
        last = document
    return ClientReading(
        pod=pod,
        node=node,
        service=service,
        per_second=last.get("requests", 0),
        p50_ms=last.get("p50_ms"),
        p99_ms=last.get("p99_ms"),
        requests=requests,
        failures=failures,
        answers=tuple(last.get("answers", ())),
        reasons=reasons,
    )


@dataclass(frozen=True, slots=True)
class NodeReading:
    """One node: Envoy's own counters, and how the sends of its enrolled sockets went."""

    name: str
    acceleration: str
    envoy_requests: int
    envoy_tcp_connections: int
    captured: int
    sockmap_sends: int
    sockmap_bytes: int
    tcp_sends: int
    tcp_bytes: int
    tcp_reasons: Mapping[str, int]

    @property
    def sockmap_share(self) -> float:
        """Share of payload bytes that went socket to socket, of all that enrolled sockets sent."""
        total = self.sockmap_bytes + self.tcp_bytes
        return self.sockmap_bytes / total if total else 0.0


def read_node(
    name: str,
    acceleration: str,
    verdicts: Mapping[str, VerdictCount],
    envoy: Mapping[str, int],
) -> NodeReading:
    """Put a node's counters together."""
    by_tcp = {
        verdict.removeprefix("send_tcp_"): counted
        for verdict, counted in verdicts.items()
        if verdict.startswith("send_tcp_")
    }
    redirected = verdicts["send_redirected"]
    return NodeReading(
        name=name,
        acceleration=acceleration,
        envoy_requests=envoy.get("http.service_http.downstream_rq_total", 0),
        envoy_tcp_connections=envoy.get("tcp.service_tcp.downstream_cx_total", 0),
        captured=verdicts["connect_redirected"].count,
        sockmap_sends=redirected.count,
        sockmap_bytes=redirected.bytes,
        tcp_sends=sum(counted.count for counted in by_tcp.values()),
        tcp_bytes=sum(counted.bytes for counted in by_tcp.values()),
        tcp_reasons={reason: one.count for reason, one in by_tcp.items() if one.count},
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything at one moment."""

    at_seconds: float
    clients: tuple[ClientReading, ...]
    nodes: tuple[NodeReading, ...]
    findings: tuple[str, ...]

    @property
    def requests(self) -> int:
        """Answered requests of all clients."""
        return sum(client.requests for client in self.clients)

    @property
    def failures(self) -> int:
        """Failed requests of all clients."""
        return sum(client.failures for client in self.clients)


def shortcomings(reading: Reading) -> list[str]:
    """What a sound demonstration must not show; empty when all went well."""
    found = []
    for client in reading.clients:
        if client.failures:
            reasons = ", ".join(f"{count}x {reason}" for reason, count in client.reasons.items())
            found.append(f"{client.pod}: {client.failures} requests failed ({reasons})")
        if not client.requests:
            found.append(f"{client.pod}: no request was answered")
    for node in reading.nodes:
        if not node.envoy_requests + node.envoy_tcp_connections:
            found.append(f"{node.name}: nothing crossed Envoy")
        if not node.sockmap_sends and node.acceleration != "off":
            found.append(f"{node.name}: nothing went socket to socket")
    return found
