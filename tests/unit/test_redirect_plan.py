"""The diff of maps, and the contract that the kernel's maps and their twin both keep."""

from __future__ import annotations

import pytest
from culvert.model.redirect import ProxyListener, RedirectConfig
from culvert.redirect.encode import (
    CONFIG,
    DESTINATIONS,
    PODS,
    RECONCILED_MAPS,
    MapContents,
    encode_config,
)
from culvert.redirect.memory import MemoryMaps
from culvert.redirect.plan import Put, Remove, diff, phases
from hypothesis import given
from hypothesis import strategies as st

entries = st.dictionaries(
    st.binary(min_size=1, max_size=1), st.binary(min_size=1, max_size=1), max_size=6
)
contents = st.fixed_dictionaries({name: entries for name in RECONCILED_MAPS if name != "cv_config"})


def filled(have: MapContents) -> MemoryMaps:
    maps = MemoryMaps()
    maps.apply(diff({}, have))
    return maps


@given(have=contents, want=contents)
def test_applied_plan_leads_from_anything_to_what_is_wanted(
    have: MapContents, want: MapContents
) -> None:
    maps = filled(have)
    maps.apply(diff(maps.read(), want))
    assert maps.read() == {**want, "cv_config": {}}
    assert diff(maps.read(), want) == []


@given(have=contents, want=contents)
def test_nothing_is_removed_before_all_is_added(have: MapContents, want: MapContents) -> None:
    kinds = [type(change) for change in diff(have, want)]
    assert kinds == sorted(kinds, key=lambda kind: kind is Remove)


@given(have=contents, want=contents)
def test_unchanged_entry_is_never_touched(have: MapContents, want: MapContents) -> None:
    for change in diff(have, want):
        if isinstance(change, Put):
            assert have.get(change.map_name, {}).get(change.key) != change.value
        else:
            assert change.key not in want.get(change.map_name, {})


def test_pod_is_written_last_and_removed_first() -> None:
    everything = {name: {b"k": b"v"} for name in RECONCILED_MAPS}
    assert diff({}, everything)[-1].map_name == PODS
    assert diff(everything, {})[0].map_name == PODS


@given(have=contents, want=contents)
def test_destination_is_captured_after_the_proxy_knows_and_released_before_it_forgets(
    have: MapContents, want: MapContents
) -> None:
    plan = phases(diff(have, want), have)
    assert all(
        isinstance(change, Put) and change.map_name == DESTINATIONS for change in plan.after_proxy
    )
    assert not any(
        isinstance(change, Put) and change.map_name == DESTINATIONS for change in plan.before_proxy
    )


def config(*, identity: bool) -> MapContents:
    listener_ports = {ProxyListener.SERVICE_TCP: 15002}
    made = RedirectConfig(None, None, listener_ports, accelerate=False, identity=identity)
    return {CONFIG: {bytes(4): encode_config(made)}}


@pytest.mark.parametrize(
    ("have", "want", "before_proxy"),
    [
        ({}, config(identity=False), True),
        ({}, config(identity=True), True),
        (config(identity=False), config(identity=True), True),
        (config(identity=True), config(identity=False), False),
    ],
)
def test_numbers_are_shown_for_as_long_as_the_proxy_takes_a_port_for_one(
    have: MapContents, want: MapContents, before_proxy: bool
) -> None:
    plan = phases(diff(have, want), have)
    assert (len(plan.before_proxy), len(plan.after_proxy)) == (before_proxy, not before_proxy)


def test_full_map_refuses_new_entries_and_keeps_and_updates_old_ones() -> None:
    maps = MemoryMaps({PODS: 1})
    maps.apply([Put(PODS, b"a", b"1")])
    (full,) = maps.apply([Put(PODS, b"b", b"1"), Put(PODS, b"a", b"2")])
    assert (full.map_name, full.max_entries, full.refused) == (PODS, 1, 1)
    assert maps.read()[PODS] == {b"a": b"2"}
