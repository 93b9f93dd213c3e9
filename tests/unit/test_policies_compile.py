"""Who is in force where, and what the outcome of it names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from culvert.compile.node import compile_node
from culvert.compile.policies import attach_traffic_policies
from culvert.model.endpoint import Endpoint, EndpointPort, EndpointSlice
from culvert.model.key import ObjectKey
from culvert.model.node import ZONE_LABEL, Node
from culvert.model.outcome import ObjectOutcome, Reason
from culvert.model.policy import MeshConfig, TargetRef, TrafficPolicy
from culvert.model.service import Service, ServicePort
from culvert.model.traffic import Locality, TrafficOverrides
from culvert.model.world import World

WEB = Service(
    "shop",
    "web",
    cluster_addresses=("10.96.0.1",),
    ports=(ServicePort(80, "http"), ServicePort(81, "tcp")),
)
SLICE = EndpointSlice(
    "shop",
    "web-1",
    "web",
    4,
    (EndpointPort(8080, "http"),),
    tuple(
        Endpoint((f"10.0.0.{number}",), node=f"node-{number}", zone=f"zone-{number}")
        for number in (1, 2)
    ),
)
NODES = {
    name: Node(name, {ZONE_LABEL: zone})
    for name, zone in (("node-1", "zone-1"), ("node-2", "zone-2"))
}


def policy(name: str, created: int, seconds: float, port: str = "", **more: Any) -> TrafficPolicy:
    return TrafficPolicy(
        namespace="shop",
        name=name,
        created_seconds=created,
        targets=(TargetRef("Service", "web", port),),
        traffic=TrafficOverrides(request_timeout_seconds=seconds, **more),
    )


def world(*policies: TrafficPolicy, **more: Any) -> World:
    return World(
        nodes=NODES,
        services={WEB.key: WEB},
        endpoint_slices={ObjectKey("shop", "web-1"): SLICE},
        traffic_policies={one.key: one for one in policies},
        **more,
    )


@dataclass(frozen=True)
class Verdict:
    """What is in force for the Service and its port http, and who lost."""

    service: float | None
    port: float | None
    lost: tuple[str, ...]


def verdict(*policies: TrafficPolicy) -> Verdict:
    found = attach_traffic_policies({one.key: one for one in policies}, {WEB.key: WEB})
    here = found.of(WEB.key)
    port = here.by_port_name.get("http")
    return Verdict(
        here.service.request_timeout_seconds,
        port.request_timeout_seconds if port else None,
        tuple(sorted(key.name for key, one in found.by_policy.items() if one.lost)),
    )


def test_the_older_of_two_is_in_force_whatever_their_names() -> None:
    assert verdict(policy("a", 2, 2.0), policy("b", 1, 1.0)) == Verdict(1.0, None, ("a",))


def test_of_two_of_one_age_the_first_by_name_is_in_force() -> None:
    assert verdict(policy("b", 1, 2.0), policy("a", 1, 1.0)) == Verdict(1.0, None, ("b",))


def test_a_port_and_its_service_are_not_in_conflict() -> None:
    assert verdict(policy("a", 1, 1.0), policy("b", 2, 2.0, "http")) == Verdict(1.0, 2.0, ())


def test_who_lost_takes_over_when_the_winner_is_gone() -> None:
    winner, loser = policy("a", 1, 1.0), policy("b", 2, 2.0)
    assert verdict(winner, loser).lost == ("b",)
    assert verdict(loser) == Verdict(2.0, None, ())


def test_a_policy_holds_in_its_own_namespace_only() -> None:
    elsewhere = TrafficPolicy(namespace="other", name="a", targets=(TargetRef("Service", "web"),))
    found = attach_traffic_policies({elsewhere.key: elsewhere}, {WEB.key: WEB})
    assert found.by_policy[elsewhere.key].missing == ("there is no Service web in namespace other",)


def outcome(here: World, kind: str = "TrafficPolicy") -> ObjectOutcome:
    (found,) = (one for one in compile_node(here, "node-1").outcomes if one.kind == kind)
    return found


def kinds_named(found: ObjectOutcome) -> set[str]:
    return {type_url.rpartition(".")[2] for type_url, _ in found.resource_names}


def test_a_policy_waits_for_endpoints_only_where_it_has_a_say_in_them() -> None:
    assert kinds_named(outcome(world(policy("a", 1, 1.0)))) == {
        "Cluster",
        "ScopedRouteConfiguration",
    }
    near = policy("a", 1, 1.0, locality=Locality.ZONE)
    assert "ClusterLoadAssignment" in kinds_named(outcome(world(near)))


def test_a_policy_for_a_port_is_carried_by_that_port_alone() -> None:
    found = outcome(world(policy("a", 1, 1.0, "tcp")))
    assert found.resource_names == (
        ("type.googleapis.com/envoy.config.cluster.v3.Cluster", "tcp|10.96.0.1:81"),
    )
    assert [key.port_host for key in found.destinations] == [81]


def test_a_mesh_config_is_carried_by_everything() -> None:
    found = outcome(world(mesh_config=MeshConfig(generation=4, fail_open=True)), "MeshConfig")
    assert (found.generation, found.carried_by_everything, found.needed) == (4, True, True)
    assert (found.accepted, found.reason) == (True, Reason.ACCEPTED)
