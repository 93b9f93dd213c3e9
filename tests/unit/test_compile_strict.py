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
