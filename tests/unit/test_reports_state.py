from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest
from culvert.model.desired import Resource
from culvert.model.finding import Finding
from culvert.model.key import ObjectKey
from culvert.model.outcome import ObjectOutcome
from culvert.model.redirect import DestinationKey, address16
from culvert.model.report import MAX_FINDINGS_PER_NODE, ObjectState
from culvert.reports.session import NodeState
from culvert.reports.state import node_state
from culvert.xds.resource_types import CLUSTER, ROUTE
from culvert.xds.session import SessionStatistics, TypeStatistics

ROUTES = Resource.of(ROUTE, "web", b"new")
RESOURCES = {ROUTE: {"web": ROUTES}}
OLD_VERSION = Resource.of(ROUTE, "web", b"old").version
WEB = DestinationKey(address16("10.0.0.1"), 80)
ELSE = DestinationKey(address16("10.0.0.2"), 80)
POLICY = ObjectOutcome(
    "TrafficPolicy",
    ObjectKey("shop", "web"),
    "u1",
    3,
    resource_names=((ROUTE, "web"),),
    destinations=(WEB,),
)
CONFIG = replace(POLICY, kind="MeshConfig", resource_names=(), destinations=())
CONFIG = replace(CONFIG, carried_by_everything=True)

PENDING = (ObjectState.PENDING, "")
PROGRAMMED = (ObjectState.PROGRAMMED, "")


def proxy(
    *,
    accepted: Mapping[str, str] | None = None,
    rejected: Mapping[str, str] | None = None,
    doubtful: Collection[str] = (),
    error: str = "",
    settled: bool = True,
    synced: bool = True,
    type_url: str = ROUTE,
) -> SessionStatistics:
    of_type = TypeStatistics(
        type_url=type_url,
        wildcard=False,
        names=1,
        accepted=accepted or {},
        doubtful=frozenset(doubtful),
        pending=0,
        in_flight=0,
        rejected=rejected or {},
        responses=0,
        sent=0,
        removed=0,
        acks=0,
        nacks=0,
        stale_nonces=0,
        last_error=error,
    )
    return SessionStatistics(1, 1, settled, synced, {type_url: of_type})


HAS = proxy(accepted={"web": ROUTES.version})
HAS_OLD = proxy(accepted={"web": OLD_VERSION})
REFUSES = proxy(rejected={"web": ROUTES.version}, error="bad", synced=False)


def reported(
    outcome: ObjectOutcome,
    *proxies: SessionStatistics,
    missing: Sequence[DestinationKey] = (),
) -> tuple[ObjectState, str]:
    (report,) = node_state([outcome], RESOURCES, proxies, missing, ()).objects.values()
    return report.state, report.message


def test_object_is_named_in_the_version_that_was_applied() -> None:
    (report,) = node_state([POLICY], RESOURCES, [HAS], (), ()).objects.values()
    assert (*report.id, report.generation) == ("TrafficPolicy", "shop", "web", "u1", 3)


@pytest.mark.parametrize("outcome", [replace(POLICY, uid=""), replace(POLICY, generation=0)])
def test_object_that_is_not_from_the_api_or_was_not_read_is_left_out(
    outcome: ObjectOutcome,
) -> None:
    assert node_state([outcome], RESOURCES, [HAS], (), ()) == NodeState()


def test_object_with_nothing_to_hold_is_unneeded_whatever_the_proxy_does() -> None:
    idle = replace(POLICY, resource_names=(), destinations=())
    assert reported(idle, missing=[WEB]) == (ObjectState.UNNEEDED, "")


def test_proxy_and_maps_that_hold_all_of_it_have_it_programmed() -> None:
    assert reported(POLICY, HAS) == PROGRAMMED
    assert reported(POLICY, HAS, missing=[ELSE]) == PROGRAMMED, "that is another's"


def test_without_a_proxy_nothing_is_programmed() -> None:
    assert reported(POLICY) == PENDING


@pytest.mark.parametrize(
    "waiting",
    [
        HAS_OLD,
        proxy(),
        proxy(accepted={"web": ROUTES.version}, doubtful=["web"]),
        proxy(rejected={"web": OLD_VERSION}),
        proxy(accepted={"web": ROUTES.version}, type_url=CLUSTER),
    ],
    ids=["older", "nothing", "in doubt", "older refused", "type not asked for"],
)
def test_until_the_proxy_has_this_very_version_it_is_pending(waiting: SessionStatistics) -> None:
    assert reported(POLICY, waiting) == PENDING


def test_resource_that_is_not_there_is_waited_for() -> None:
    other = replace(POLICY, resource_names=((ROUTE, "gone"),))
    assert reported(other, HAS) == PENDING


def test_rejection_says_what_the_proxy_refused_and_why() -> None:
    state, message = reported(POLICY, REFUSES)
    assert state is ObjectState.REJECTED
    assert message.endswith("web: bad")


def test_worst_of_several_proxies_counts() -> None:
    assert reported(POLICY, HAS, HAS_OLD) == PENDING
    assert reported(POLICY, HAS_OLD, HAS, REFUSES)[0] is ObjectState.REJECTED


def test_map_without_room_is_a_rejection_even_without_a_proxy() -> None:
    want = (ObjectState.REJECTED, "1 of its destinations are not in the map")
    assert reported(POLICY, missing=[WEB, ELSE]) == want
    assert reported(CONFIG, HAS, missing=[ELSE]) == want


def test_what_everything_carries_is_programmed_when_everything_is() -> None:
    assert reported(CONFIG, HAS) == PROGRAMMED
    assert reported(CONFIG, proxy(synced=False, settled=False)) == PENDING


def test_what_everything_carries_is_rejected_only_when_nothing_more_will_come() -> None:
    assert reported(CONFIG, REFUSES)[0] is ObjectState.REJECTED
    assert reported(CONFIG, replace(REFUSES, settled=False)) == PENDING


def test_findings_are_told_once_and_a_flood_is_cut_the_same_way_each_time() -> None:
    many = [
        Finding("CV0401", f"Service shop/{number:04}", "", "wrong", "mend it")
        for number in range(MAX_FINDINGS_PER_NODE + 10)
    ]
    one = node_state((), {}, (), (), [many[0], many[0]])
    assert len(one.findings) == 1
    flood = node_state((), {}, (), (), many)
    assert len(flood.findings) == MAX_FINDINGS_PER_NODE
    assert flood == node_state((), {}, (), (), reversed(many))
