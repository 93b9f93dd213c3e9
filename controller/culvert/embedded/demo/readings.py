"""What was measured, as values: client logs, verdict counters and Envoy's counters; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from culvert.embedded.demo.cast import CALLS_ANNOTATION, Spoken
from culvert.status.document import VerdictCount

ENVOY_COUNTERS = (
    "downstream_rq_total|downstream_cx_total|cx_.x_bytes_total|cluster.tunnel.upstream_.._total"
)
"""The counters that ``read_node`` needs, for Envoy's filter."""

_LISTENER = re.compile(r"(http|tcp)\.(service|pod)_(http|tcp)\.downstream_(.+)")
_UPSTREAM_BYTES = re.compile(r"cluster\.(?!xds\.).+\.upstream_cx_[rt]x_bytes_total")


@dataclass(frozen=True, slots=True)
class ClientReading:
    """One load client. Latencies in milliseconds, of the last second; counts since its start.

    ``received_bytes`` is payload: bodies of HTTP, lines of TCP.
    """

    pod: str
    node: str
    service: str
    protocol: Spoken
    per_second: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    requests: int = 0
    failures: int = 0
    received_bytes: int = 0
    answers: tuple[str, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)
    is_refused: bool = False
    """Whether a policy keeps it out, so that its failures are as they should be."""


def read_client(
    pod: str, node: str, service: str, protocol: Spoken, lines: Iterable[str]
) -> ClientReading:
    """Add up the lines a load client printed; a line that is not whole yet is left out."""
    requests = failures = received_bytes = 0
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
        received_bytes += document["bytes"]
        for reason, count in document.get("reasons", {}).items():
            reasons[reason] = reasons.get(reason, 0) + count
        last = document
    return ClientReading(
        pod=pod,
        node=node,
        service=service,
        protocol=protocol,
        per_second=last.get("requests", 0),
        p50_ms=last.get("p50_ms"),
        p99_ms=last.get("p99_ms"),
        requests=requests,
        failures=failures,
        received_bytes=received_bytes,
        answers=tuple(last.get("answers", ())),
        reasons=reasons,
    )


@dataclass(frozen=True, slots=True)
class EnvoyReading:
    """One Envoy, by its own counters. Bytes are payload of both its sides, in and out."""

    requests: int = 0
    tcp_connections: int = 0
    tcp_sent_bytes: int = 0
    """What clients of TCP Services were sent."""
    moved_bytes: int = 0
    tls_connections: int = 0
    """To other nodes, and how many connections of pods went in them (``tls_streams``)."""
    tls_streams: int = 0


def read_envoy(counters: Mapping[str, int]) -> EnvoyReading:
    """Add up the counters of the listeners that take pods' connections, and of all clusters."""
    requests = tcp_connections = tcp_sent_bytes = moved_bytes = 0
    for name, value in counters.items():
        moved_bytes += value if _UPSTREAM_BYTES.fullmatch(name) else 0
        match = _LISTENER.fullmatch(name)
        if match is None:
            continue
        counted = f"{match[1]} {match[4]}"
        requests += value if counted == "http rq_total" else 0
        tcp_connections += value if counted == "tcp cx_total" else 0
        tcp_sent_bytes += value if counted == "tcp cx_tx_bytes_total" else 0
        moved_bytes += value if match[4] in ("cx_rx_bytes_total", "cx_tx_bytes_total") else 0
    return EnvoyReading(
        requests,
        tcp_connections,
        tcp_sent_bytes,
        moved_bytes,
        tls_connections=counters.get("cluster.tunnel.upstream_cx_total", 0),
        tls_streams=counters.get("cluster.tunnel.upstream_rq_total", 0),
    )


@dataclass(frozen=True, slots=True)
class KernelReading:
    """One node's BPF counters: captured connections, and how enrolled sockets sent."""

    acceleration: str = "off"
    captured: int = 0
    sockmap_sends: int = 0
    sockmap_bytes: int = 0
    tcp_sends: int = 0
    tcp_bytes: int = 0
    tcp_reasons: Mapping[str, int] = field(default_factory=dict)


def read_kernel(acceleration: str, verdicts: Mapping[str, VerdictCount]) -> KernelReading:
    """Put the counters of the send decisions together."""
    by_tcp = {
        verdict.removeprefix("send_tcp_"): counted
        for verdict, counted in verdicts.items()
        if verdict.startswith("send_tcp_")
    }
    redirected = verdicts["send_redirected"]
    return KernelReading(
        acceleration=acceleration,
        captured=verdicts["connect_redirected"].count,
        sockmap_sends=redirected.count,
        sockmap_bytes=redirected.bytes,
        tcp_sends=sum(counted.count for counted in by_tcp.values()),
        tcp_bytes=sum(counted.bytes for counted in by_tcp.values()),
        tcp_reasons={reason: one.count for reason, one in by_tcp.items() if one.count},
    )


@dataclass(frozen=True, slots=True)
class NodeReading:
    """One node; what one of its two sources could not tell this time is as it told it last."""

    name: str
    envoy: EnvoyReading = EnvoyReading()
    kernel: KernelReading = KernelReading()
    agent_answers: bool = True

    @property
    def other_bytes(self) -> int:
        """Bytes through Envoy over sockets that were never enrolled: to and from other nodes."""
        enrolled = self.kernel.sockmap_bytes + self.kernel.tcp_bytes
        return max(0, self.envoy.moved_bytes - enrolled)

    @property
    def sockmap_share(self) -> float:
        """Share of the bytes in and out of Envoy that went socket to socket."""
        total = self.kernel.sockmap_bytes + self.kernel.tcp_bytes + self.other_bytes
        return self.kernel.sockmap_bytes / total if total else 0.0


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
        return sum(client.requests for client in self.clients if not client.is_refused)

    @property
    def failures(self) -> int:
        """Failed requests of all clients, but for those that policies refuse."""
        return sum(client.failures for client in self.clients if not client.is_refused)

    @property
    def refusals(self) -> int:
        """Calls that policies refused."""
        return sum(client.failures for client in self.clients if client.is_refused)


def shortcomings(reading: Reading) -> list[str]:
    """What a sound demonstration must not show; empty when all went well.

    Envoy is read after the clients, so it must have counted at least what they report.
    """
    found = []
    if not reading.clients:
        found.append(f"no pod is a client: annotate one with {CALLS_ANNOTATION}: <Service>")
    for client in reading.clients:
        if client.is_refused:
            if client.requests:
                found.append(f"{client.pod}: {client.requests} calls answered that policies refuse")
            continue
        if client.failures:
            reasons = ", ".join(f"{count}x {reason}" for reason, count in client.reasons.items())
            found.append(f"{client.pod}: {client.failures} requests failed ({reasons})")
        if not client.requests:
            found.append(f"{client.pod}: no request was answered")
    for node in reading.nodes:
        requests, tcp_bytes = client_counts(reading, node.name)
        if not node.envoy.requests + node.envoy.tcp_connections:
            found.append(f"{node.name}: nothing crossed Envoy")
        elif node.envoy.requests < requests:
            found.append(f"{node.name}: {requests} requests, {node.envoy.requests} crossed Envoy")
        elif node.envoy.tcp_sent_bytes < tcp_bytes:
            crossed = node.envoy.tcp_sent_bytes
            found.append(f"{node.name}: {tcp_bytes} bytes by TCP, {crossed} crossed Envoy")
        if not node.kernel.sockmap_sends and node.kernel.acceleration != "off":
            found.append(f"{node.name}: nothing went socket to socket")
    return found


def client_counts(reading: Reading, node: str) -> tuple[int, int]:
    """What the clients on a node counted: HTTP requests, and bytes received from TCP Services."""
    clients = [client for client in reading.clients if client.node == node]
    return (
        sum(client.requests for client in clients if client.protocol.is_http),
        sum(client.received_bytes for client in clients if not client.protocol.is_http),
    )
