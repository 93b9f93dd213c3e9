from __future__ import annotations

from typing import Any

import msgspec
from culvert.compile.cache import CachedCompiler
from culvert.compile.consistency import inconsistencies
from culvert.compile.internal import INBOUND_TCP
from culvert.compile.names import POD_SCOPE_PREFIX
from culvert.compile.node import compile_node
from culvert.compile.tunnel import PODS_ROUTES
from culvert.model.redirect import address_text
from culvert.model.world import World
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.strategies_compile import changed, changes, starts

HISTORIES = st.lists(changes(), min_size=1, max_size=25)


@given(starts, HISTORIES)
def test_changes_applied_one_by_one_end_where_compiling_from_scratch_does(
    world: World, history: Any
) -> None:
    cached = CachedCompiler("node-a")
    for change in history:
        world = changed(world, change)
        assert cached.compile(world) == compile_node(world, "node-a")


@given(starts, HISTORIES)
def test_a_compiled_node_refers_to_nothing_that_it_does_not_hold(
    world: World, history: Any
) -> None:
    for change in history:
        world = changed(world, change)
    assert list(inconsistencies(compile_node(world, "node-a"))) == []


@given(starts, HISTORIES)
def test_order_of_the_world_does_not_show_in_the_bytes(world: World, history: Any) -> None:
    for change in history:
        world = changed(world, change)
    turned = msgspec.structs.replace(
        world,
        **{
            field: dict(reversed(list(getattr(world, field).items())))
            for field in (
                "namespaces",
                "nodes",
                "workloads",
                "services",
                "endpoint_slices",
                "traffic_policies",
                "peer_authentications",
            )
        },
    )
    assert compile_node(turned, "node-a") == compile_node(world, "node-a")


def judges(name: str) -> bool:
    """Whether a resource is about who may reach pods of the node: endpoints say at which ports."""
    return name in (INBOUND_TCP, PODS_ROUTES) or name.startswith(POD_SCOPE_PREFIX)


@given(starts, HISTORIES)
def test_an_endpoint_change_touches_no_cluster_and_no_listener_or_scope_of_clients(
    world: World, history: Any
) -> None:
    for change in history:
        following = changed(world, change)
        if "endpoint_slices" in change:
            before, after = compile_node(world, "node-a"), compile_node(following, "node-a")
            differing = {
                type_url.rsplit(".", 1)[-1]
                for type_url, old in before.resources.items()
                for name in old.keys() | after.resources[type_url].keys()
                if old.get(name) != after.resources[type_url].get(name) and not judges(name)
            }
            assert differing <= {"ClusterLoadAssignment"}
        world = following


@given(starts, HISTORIES)
def test_every_captured_destination_belongs_to_a_service_or_a_pod(
    world: World, history: Any
) -> None:
    for change in history:
        world = changed(world, change)
    desired = compile_node(world, "node-a")
    known: set[str] = {a for w in world.workloads.values() for a in w.addresses}
    known |= {a for s in world.services.values() for a in s.cluster_addresses}
    known |= {
        a for part in world.endpoint_slices.values() for e in part.endpoints for a in e.addresses
    }
    assert {address_text(key.address) for key in desired.redirect.destinations} <= known
