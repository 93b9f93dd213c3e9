"""The data path's own metrics, read from the maps when they are scraped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from culvert.status.document import AgentStatus, IdentityStatus


class StatusCollector(Collector):
    """Turns the status document into metrics. Labels are bounded; no pod addresses."""

    def __init__(self, status: Callable[[], AgentStatus]) -> None:
        self._status = status

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not read the maps."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """One reading."""
        now = self._status()
        verdicts = CounterMetricFamily(
            "culvert_redirects", "Decisions of the data path by reason.", labels=["verdict"]
        )
        payload = CounterMetricFamily(
            "culvert_send_bytes",
            "Payload of enrolled sockets, by the decision that sent it.",
            labels=["verdict"],
        )
        for name, counted in now.verdicts.items():
            verdicts.add_metric([name], counted.count)
            if name.startswith("send_"):
                payload.add_metric([name], counted.bytes)
        yield verdicts
        yield payload
        early = CounterMetricFamily(
            "culvert_early_connections",
            "Connections that pods made past the mesh before they were captured.",
        )
        early.add_metric([], now.early_connections_total)
        yield early
        entries = GaugeMetricFamily("culvert_map_entries", "Entries.", labels=["map"])
        capacity = GaugeMetricFamily("culvert_map_capacity", "Most entries.", labels=["map"])
        for one in now.maps:
            entries.add_metric([one.name], one.entries)
            capacity.add_metric([one.name], one.max_entries)
        yield entries
        yield capacity
        findings = GaugeMetricFamily("culvert_findings", "Problems by code.", labels=["code"])
        for code, count in sorted(Counter(line.code for line in now.findings).items()):
            findings.add_metric([code], count)
        yield findings
        acceleration = GaugeMetricFamily(
            "culvert_acceleration", "1 for the state in force.", labels=["state"]
        )
        for state in ("on", "on-request", "off"):
            acceleration.add_metric([state], 1.0 if state == now.acceleration else 0.0)
        yield acceleration
        self_test = GaugeMetricFamily(
            "culvert_self_test_passed", "Start-up self-test, 1 for a passed case.", labels=["case"]
        )
        for line in now.self_test:
            self_test.add_metric([line.name], 1.0 if line.passed else 0.0)
        yield self_test
        stale = GaugeMetricFamily(
            "culvert_source_stale_since_seconds",
            "UNIX time since when a kind of object is not followed; no sample while it is.",
            labels=["kind"],
        )
        for kind, since_seconds in sorted(now.source.stale_since_seconds.items()):
            stale.add_metric([kind], since_seconds)
        yield stale
        if now.identities is not None:
            yield from _of_identities(now.identities)
        listeners = GaugeMetricFamily(
            "culvert_proxy_listeners", "Proxy sockets that accept connections."
        )
        listeners.add_metric([], now.proxy_listeners)
        yield listeners
        info = GaugeMetricFamily(
            "culvert_build_info", "1.", labels=["version", "bpf_sources", "kernel"]
        )
        info.add_metric([now.version, now.source_sha256[:12], now.kernel], 1.0)
        yield info


def _of_identities(identities: IdentityStatus) -> Iterator[Metric]:
    certificates = GaugeMetricFamily(
        "culvert_certificates", "Certificates of this node's identities.", labels=["state"]
    )
    ends = [one.ends_seconds for one in identities.certificates if one.ends_seconds is not None]
    certificates.add_metric(["held"], len(ends))
    certificates.add_metric(["awaited"], len(identities.certificates) - len(ends))
    yield certificates
    if ends:
        nearest = GaugeMetricFamily(
            "culvert_certificate_end_seconds", "UNIX time at which the first of them ends."
        )
        nearest.add_metric([], min(ends))
        yield nearest
    requests = CounterMetricFamily(
        "culvert_certificate_requests", "Certificates asked for, by outcome.", labels=["outcome"]
    )
    requests.add_metric(["Issued"], identities.issued_total)
    for reason, count in sorted(identities.failures_total.items()):
        requests.add_metric([reason], count)
    yield requests
    live = GaugeMetricFamily(
        "culvert_live_connections", "Connections of the proxy to this node's pods."
    )
    live.add_metric([], identities.live_connections)
    yield live
    cut = CounterMetricFamily(
        "culvert_connections_cut", "Connections that were ended because policies changed."
    )
    cut.add_metric([], identities.cut_total)
    yield cut
    remarks = CounterMetricFamily(
        "culvert_policy_remarks",
        "Connections that an AUDIT policy matches, or that one in dry run would refuse.",
        labels=["remark", "policy"],
    )
    for one in identities.remarks:
        remarks.add_metric([one.remark, one.policy], one.count)
    yield remarks
