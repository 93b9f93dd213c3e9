"""What the xDS server reports: a small protocol, and its Prometheus form."""

from __future__ import annotations

from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from culvert.xds.resource_types import KNOWN, kind


class Meter(Protocol):
    """Receives what happens; must not block."""

    def pushed(self, type_url: str, size_bytes: int) -> None:
        """Note that a response was written."""

    def answered(self, type_url: str, result: str) -> None:
        """Note that the proxy answered a response: ``ack``, ``nack`` or ``stale``."""

    def connected(self, proxies: int) -> None:
        """Note the number of open streams."""

    def converged(self, seconds: float) -> None:
        """Note that every proxy settled, so long after the oldest snapshot it had not taken."""


class NoMeter:
    """Reports nothing."""

    def pushed(self, type_url: str, size_bytes: int) -> None:
        """Ignore it."""

    def answered(self, type_url: str, result: str) -> None:
        """Ignore it."""

    def connected(self, proxies: int) -> None:
        """Ignore it."""

    def converged(self, seconds: float) -> None:
        """Ignore it."""


class PrometheusMeter:
    """Counts into ``registry``. Labels are bounded: unknown types share one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._pushes = Counter(
            "culvert_xds_pushes_total",
            "xDS responses by type and outcome (sent, ack, nack, stale).",
            ["type", "result"],
            registry=registry,
        )
        self._bytes = Counter(
            "culvert_xds_pushed_bytes_total",
            "Bytes of xDS responses by type.",
            ["type"],
            registry=registry,
        )
        self._proxies = Gauge(
            "culvert_xds_connected_proxies",
            "Proxies with an open xDS stream.",
            registry=registry,
        )
        self._convergence = Histogram(
            "culvert_xds_convergence_seconds",
            "From publishing a snapshot until every proxy has accepted or rejected it.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60),
            registry=registry,
        )

    def pushed(self, type_url: str, size_bytes: int) -> None:
        """Note that a response was written."""
        self._pushes.labels(_label(type_url), "sent").inc()
        self._bytes.labels(_label(type_url)).inc(size_bytes)

    def answered(self, type_url: str, result: str) -> None:
        """Note that the proxy answered a response."""
        self._pushes.labels(_label(type_url), result).inc()

    def connected(self, proxies: int) -> None:
        """Note the number of open streams."""
        self._proxies.set(proxies)

    def converged(self, seconds: float) -> None:
        """Note that every proxy settled."""
        self._convergence.observe(seconds)


def _label(type_url: str) -> str:
    return kind(type_url) if type_url in KNOWN else "other"
