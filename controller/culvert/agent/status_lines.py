"""Parts of the status document, from what the edges say of themselves; pure."""

from __future__ import annotations

from collections.abc import Iterable

from culvert.model.finding import Finding
from culvert.sources.kubernetes.source import KubernetesSource
from culvert.status.document import FindingLine, ProxyStatus, SourceStatus, TypeStatus
from culvert.xds.server import ProxyStatistics


def finding_lines(findings: Iterable[Finding]) -> list[FindingLine]:
    """The findings, in their order."""
    return [
        FindingLine(one.code, one.severity.value, one.subject, one.field, one.message, one.remedy)
        for one in findings
    ]


def source_status(source: KubernetesSource | None, *, manifests_read: bool) -> SourceStatus:
    """How good the picture is; without a ``source`` the world comes from manifests."""
    if source is None:
        return SourceStatus("manifests", synced=manifests_read)
    health = source.health()
    return SourceStatus(
        "kubernetes",
        synced=health.synced,
        stale_since_seconds=dict(health.stale),
        absent=list(health.absent),
        errors={name: kind.error for name, kind in health.kinds.items() if kind.error},
    )


def proxy_status(proxy: ProxyStatistics) -> ProxyStatus:
    """One connected proxy."""
    return ProxyStatus(
        node_id=proxy.node_id,
        synced=proxy.session.synced,
        types=[
            TypeStatus(
                type_url=one.type_url,
                accepted=len(one.accepted),
                pending=one.pending,
                rejected=len(one.rejected),
            )
            for one in proxy.session.types.values()
        ],
    )
