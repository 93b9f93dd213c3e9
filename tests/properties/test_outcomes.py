"""Outcomes name what carries an object: no less, or its owner would be told too early."""

from __future__ import annotations

from typing import Any

from culvert.compile.node import compile_node
from culvert.model.desired import Desired
from culvert.model.world import World
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.strategies_compile import changed, changes, starts, traffic_policies

HISTORIES = st.lists(changes(), min_size=1, max_size=25)


def named(desired: Desired) -> set[tuple[str, str]]:
    return {
        (type_url, name) for type_url, resources in desired.resources.items() for name in resources
    }


@given(starts, HISTORIES)
def test_every_object_has_one_outcome_in_order(world: World, history: Any) -> None:
    for change in history:
        world = changed(world, change)
    outcomes = compile_node(world, "node-a").outcomes
    objects = [(one.kind, one.key) for one in outcomes]
    assert objects == sorted(set(objects))
    assert {key for kind, key in objects if kind == "TrafficPolicy"} == set(world.traffic_policies)
    assert ("MeshConfig" in {kind for kind, _ in objects}) == (world.mesh_config is not None)


@given(starts, HISTORIES)
def test_what_an_outcome_names_is_there(world: World, history: Any) -> None:
    for change in history:
        world = changed(world, change)
    desired = compile_node(world, "node-a")
    for outcome in desired.outcomes:
        assert set(outcome.resource_names) <= named(desired)
        assert set(outcome.destinations) <= set(desired.redirect.destinations)


@given(starts, HISTORIES, traffic_policies)
def test_what_a_policy_changes_is_named_by_its_outcome(
    world: World, history: Any, policy: Any
) -> None:
    for change in history:
        world = changed(world, change)
    before = compile_node(changed(world, {"traffic_policies": (policy.key, None)}), "node-a")
    after = compile_node(changed(world, {"traffic_policies": (policy.key, policy)}), "node-a")
    (outcome,) = (
        one for one in after.outcomes if (one.kind, one.key) == ("TrafficPolicy", policy.key)
    )
    differing = {
        (type_url, name)
        for type_url, name in named(before) | named(after)
        if before.resources[type_url].get(name) != after.resources[type_url].get(name)
    }
    assert differing <= set(outcome.resource_names)
    assert before.redirect == after.redirect


@given(starts, HISTORIES, traffic_policies)
def test_a_policy_without_effect_says_why(world: World, history: Any, policy: Any) -> None:
    for change in history:
        world = changed(world, change)
    desired = compile_node(changed(world, {"traffic_policies": (policy.key, policy)}), "node-a")
    (outcome,) = (
        one for one in desired.outcomes if (one.kind, one.key) == ("TrafficPolicy", policy.key)
    )
    if policy.targets and not outcome.resource_names:
        assert outcome.message or outcome.resolved_refs_message
        assert not (outcome.accepted and outcome.resolved_refs)
