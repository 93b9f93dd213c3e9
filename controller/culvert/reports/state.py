"""How far this node is with each object: decided, acknowledged, read back; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from types import MappingProxyType

from culvert.model.desired import Snapshot
from culvert.model.finding import Finding
from culvert.model.outcome import ObjectOutcome
from culvert.model.redirect import DestinationKey
from culvert.model.report import (
    MAX_FINDINGS_PER_NODE,
    ObjectReport,
    ObjectState,
    ReportedFinding,
)
from culvert.reports.session import NodeState
from culvert.xds.resource_types import kind
from culvert.xds.session import SessionStatistics, TypeStatistics


def node_state(
    outcomes: Iterable[ObjectOutcome],
    resources: Snapshot,
    proxies: Sequence[SessionStatistics],
    missing: Collection[DestinationKey],
    findings: Iterable[Finding],
) -> NodeState:
    """Return what there is to report.

    ``outcomes`` and ``resources`` are those of the world that was applied last, ``missing`` the
    destinations of it that the maps did not show when they were read back. Objects without a uid
    or a generation are not from the API, or could not be read, and are left out.
    """
    reports = []
    for outcome in outcomes:
        if outcome.uid and outcome.generation:
            state, message = _object_state(outcome, resources, proxies, missing)
            reports.append(
                ObjectReport(
                    outcome.kind,
                    outcome.key.namespace,
                    outcome.key.name,
                    outcome.uid,
                    outcome.generation,
                    state,
                    message,
                )
            )
    reported = sorted({ReportedFinding.of(finding) for finding in findings})
    return NodeState(
        MappingProxyType({one.id: one for one in reports}),
        frozenset(reported[:MAX_FINDINGS_PER_NODE]),
    )


def _object_state(
    outcome: ObjectOutcome,
    resources: Snapshot,
    proxies: Sequence[SessionStatistics],
    missing: Collection[DestinationKey],
) -> tuple[ObjectState, str]:
    if not outcome.needed:
        return ObjectState.UNNEEDED, ""
    absent = missing if outcome.carried_by_everything else set(outcome.destinations) & set(missing)
    if absent:
        return ObjectState.REJECTED, f"{len(absent)} of its destinations are not in the map"
    if not proxies:
        return ObjectState.PENDING, ""
    verdicts = [_at_proxy(outcome, resources, proxy) for proxy in proxies]
    for state in (ObjectState.REJECTED, ObjectState.PENDING):
        for verdict in verdicts:
            if verdict[0] is state:
                return verdict
    return ObjectState.PROGRAMMED, ""


def _at_proxy(
    outcome: ObjectOutcome, resources: Snapshot, proxy: SessionStatistics
) -> tuple[ObjectState, str]:
    if outcome.carried_by_everything:
        if proxy.synced:
            return ObjectState.PROGRAMMED, ""
        for one in proxy.types.values():
            if proxy.settled and one.rejected:
                return ObjectState.REJECTED, _rejection(one, min(one.rejected))
        return ObjectState.PENDING, ""
    is_pending = False
    for type_url, name in outcome.resource_names:
        wanted = resources.get(type_url, {}).get(name)
        of_type = proxy.types.get(type_url)
        if wanted is None or of_type is None:
            is_pending = True
        elif of_type.rejected.get(name) == wanted.version:
            return ObjectState.REJECTED, _rejection(of_type, name)
        elif of_type.accepted.get(name) != wanted.version or name in of_type.doubtful:
            is_pending = True
    return (ObjectState.PENDING if is_pending else ObjectState.PROGRAMMED), ""


def _rejection(of_type: TypeStatistics, name: str) -> str:
    error = of_type.last_error or "no reason given"
    return f"the proxy rejected {kind(of_type.type_url)} {name}: {error}"
