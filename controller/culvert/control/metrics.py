"""What the controller counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from culvert.control.aggregate import Aggregate


class ControllerCounters:
    """Totals since the process began; a leader's predecessor had totals of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reports = Counter(
            "culvert_controller_reports",
            "Reports of agents, by what they were answered.",
            ["result"],
            registry=registry,
        )
        self._statuses = Counter(
            "culvert_controller_status_writes",
            "Writes to the status of objects, by what came of them.",
            ["result"],
            registry=registry,
        )
        self._events = Counter(
            "culvert_controller_events",
            "Events about findings, by what came of them.",
            ["result"],
            registry=registry,
        )
        self._certificates = Counter(
            "culvert_controller_certificates",
            "Requests of agents to the certificate authority, by what they were answered.",
            ["result"],
            registry=registry,
        )

    def report_answered(self, result: str) -> None:
        """One report."""
        self._reports.labels(result).inc()

    def status_written(self, result: str) -> None:
        """One write of a status."""
        self._statuses.labels(result).inc()

    def certificate_answered(self, result: str) -> None:
        """One certificate issued, or one request refused."""
        self._certificates.labels(result).inc()

    def event_written(self, result: str) -> None:
        """One Event."""
        self._events.labels(result).inc()


class LeaderCollector(Collector):
    """Reads the aggregate at the time of asking; ``aggregate`` gives None while another leads."""

    def __init__(self, aggregate: Callable[[], Aggregate | None]) -> None:
        self._aggregate = aggregate

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the gauges of a leader, or only that this is none."""
        aggregate = self._aggregate()
        yield GaugeMetricFamily(
            "culvert_controller_leader",
            "1 on the controller that leads, 0 on the others.",
            value=float(aggregate is not None),
        )
        if aggregate is None:
            return
        yield GaugeMetricFamily(
            "culvert_controller_nodes",
            "Nodes that have reported.",
            value=aggregate.node_count,
        )
        yield GaugeMetricFamily(
            "culvert_controller_nodes_silent",
            "Nodes that have reported, and not for too long.",
            value=len(aggregate.silent_nodes()),
        )
        yield GaugeMetricFamily(
            "culvert_controller_objects",
            "Objects of culvert.dev that some node has spoken of.",
            value=aggregate.object_count,
        )
        ignored = GaugeMetricFamily(
            "culvert_controller_ignored",
            "What was reported and found no room, since this controller leads.",
            labels=["what"],
        )
        ignored.add_metric(["objects"], aggregate.objects_ignored)
        ignored.add_metric(["findings"], aggregate.findings_ignored)
        yield ignored
        findings = GaugeMetricFamily(
            "culvert_controller_findings",
            "Different findings that some node has now, by code.",
            labels=["code"],
        )
        by_code: dict[str, int] = {}
        for one in aggregate.findings():
            by_code[one.code] = by_code.get(one.code, 0) + 1
        for code, count in sorted(by_code.items()):
            findings.add_metric([code], count)
        yield findings
