"""What PeerAuthentications come to on a node, and what their owners are told."""

from __future__ import annotations

from typing import Any

import pytest
from culvert.compile.node import compile_node
from culvert.model.desired import Desired
from culvert.model.key import ObjectKey
from culvert.model.node import Namespace
from culvert.model.outcome import ObjectOutcome, Reason
from culvert.model.policy import MtlsMode, PeerAuthentication
from culvert.model.redirect import ANY_PORT, DestinationKey, address16
from culvert.model.settings import Settings
from culvert.model.workload import Phase, Workload
from culvert.model.world import World

WEB = DestinationKey(address16("10.0.0.1"), ANY_PORT)


def policy(name: str, created: int = 0, namespace: str = "shop", **more: Any) -> PeerAuthentication:
    more.setdefault("mode", MtlsMode.STRICT)
    return PeerAuthentication(
        namespace=namespace, name=name, created_seconds=created, uid="u", generation=1, **more
    )


def compiled(*policies: PeerAuthentication, settings: Settings | None = None) -> Desired:
    pods = [
        Workload("shop", name, name, "node-a", (address,), Phase.RUNNING, labels={"app": name})
        for name, address in (("web", "10.0.0.1"), ("api", "10.0.0.2"))
    ]
    world = World(
        namespaces={"shop": Namespace("shop", {"culvert.dev/mesh": "enabled"})},
        workloads={pod.key: pod for pod in pods},
        peer_authentications={one.key: one for one in policies},
        settings=settings or Settings(identity=True),
    )
    return compile_node(world, "node-a")


def outcome(desired: Desired, name: str) -> ObjectOutcome:
    return next(one for one in desired.outcomes if one.key.name == name)


def test_without_identities_nothing_is_strict_and_the_owner_is_told() -> None:
    desired = compiled(policy("all"), settings=Settings(identity=False))
    assert desired.redirect.strict == {}
    seen = outcome(desired, "all")
    assert (seen.accepted, seen.programmed_by_design) == (True, False)
    assert seen.message == "valid; not enforced: the mesh has no identities"
    assert [finding.code for finding in desired.findings] == ["CV0304"]


@pytest.mark.parametrize(
    ("namespace", "strict"), [("shop", True), ("culvert-system", True), ("other", False)]
)
def test_policy_is_for_its_namespace_or_from_the_root_for_all(namespace: str, strict: bool) -> None:
    desired = compiled(policy("all", namespace=namespace))
    assert desired.redirect.strict.get(WEB, False) == strict
    assert outcome(desired, "all").needed == strict


def test_root_namespace_is_a_setting() -> None:
    settings = Settings(identity=True, root_namespace="mesh")
    assert compiled(policy("all", namespace="mesh"), settings=settings).redirect.strict[WEB]
    assert not compiled(
        policy("all", namespace="culvert-system"), settings=settings
    ).redirect.strict


def test_older_of_two_for_the_same_is_in_force_and_the_younger_is_conflicted() -> None:
    younger = policy("a", 2, selector={"app": "web"}, mode=MtlsMode.PERMISSIVE)
    desired = compiled(policy("b", 1, selector={"app": "web"}), younger)
    assert desired.redirect.strict == {WEB: True}
    lost, won = outcome(desired, "a"), outcome(desired, "b")
    assert (lost.accepted, lost.reason) == (False, Reason.CONFLICTED)
    assert lost.message == "the selector app=web has the older PeerAuthentication shop/b"
    assert (won.accepted, won.needed) == (True, True)
    assert [finding.code for finding in desired.findings] == ["CV0302"]


def test_younger_policy_for_some_of_an_older_ones_pods_is_a_finding_and_accepted() -> None:
    desired = compiled(
        policy("older", 1, selector={"app": "web"}),
        policy("younger", 2, selector={}, mode=MtlsMode.PERMISSIVE),
    )
    assert desired.redirect.strict == {WEB: True}
    assert outcome(desired, "younger").accepted
    (finding,) = desired.findings
    assert finding.subject == "PeerAuthentication shop/younger"
    assert "older PeerAuthentication older for all its ports" in finding.message


def test_policy_that_has_no_pods_here_needs_nothing_of_this_node() -> None:
    seen = outcome(compiled(policy("none", selector={"app": "gone"})), "none")
    assert (seen.accepted, seen.needed, seen.programmed_by_design) == (True, False, True)


def test_controller_tells_conflicts_apart_without_any_pod() -> None:
    policies = (policy("a", 1), policy("b", 2))
    world = World(
        peer_authentications={one.key: one for one in policies}, settings=Settings(identity=True)
    )
    desired = compile_node(world, "")
    assert [outcome(desired, name).accepted for name in ("a", "b")] == [True, False]


def test_pods_are_told_by_their_cgroups_before_they_have_addresses() -> None:
    assert strict_pods(policy("web", selector={"app": "web"})) == {
        1: True,
        2: False,
        3: False,
        0: False,
    }


def test_pod_with_one_strict_port_is_strict_where_its_address_is_not_known() -> None:
    ports = policy("web", mode=None, port_modes={8080: MtlsMode.STRICT}, selector={"app": "web"})
    assert strict_pods(ports)[1]


def test_unknown_pods_are_as_the_policy_of_the_mesh_says_and_known_ones_outside_it_are_not() -> (
    None
):
    of_mesh = policy("all", namespace="culvert-system")
    assert strict_pods(of_mesh) == {1: True, 2: True, 3: False, 0: True}
    permissive = policy("shop", mode=MtlsMode.PERMISSIVE)
    assert strict_pods(of_mesh, permissive) == {1: False, 2: False, 3: False, 0: True}


def test_nothing_is_kept_of_pods_where_none_is_strict() -> None:
    assert strict_pods(policy("all", mode=MtlsMode.PERMISSIVE)) == {}
    assert strict_pods(policy("all", namespace="other")) == {}


def strict_pods(*policies: PeerAuthentication) -> dict[int, bool]:
    """Of the pods web, api and tool, with the cgroups 1, 2 and 3; tool is not in the mesh."""
    web, api = (
        Workload("shop", name, name, "node-a", labels={"app": name}) for name in ("web", "api")
    )
    tool = Workload("shop", "tool", "tool", "node-a", labels={"culvert.dev/mesh": "disabled"})
    elsewhere = Workload("shop", "far", "far", "node-b", ("10.0.1.1",), Phase.RUNNING)
    world = World(
        namespaces={"shop": Namespace("shop", {"culvert.dev/mesh": "enabled"})},
        workloads={pod.key: pod for pod in (web, api, tool, elsewhere)},
        peer_authentications={one.key: one for one in policies},
        local_cgroups={"web": 1, "api": 2, "tool": 3, "not-known-yet": 4},
        settings=Settings(identity=True),
    )
    return compile_node(world, "node-a").redirect.strict_pods


def test_pod_that_leaves_the_mesh_is_strict_no_more() -> None:
    assert len(compiled(policy("all")).redirect.strict) == 2
    world = World(
        workloads={
            ObjectKey("shop", "web"): Workload(
                "shop", "web", "web", "node-a", ("10.0.0.1",), Phase.RUNNING
            )
        },
        peer_authentications={ObjectKey("shop", "all"): policy("all")},
        settings=Settings(identity=True),
    )
    assert compile_node(world, "node-a").redirect.strict == {}
