"""Where policies may refuse a caller past the mesh, and what the kernel is told of it."""

from __future__ import annotations

from typing import Any

import pytest
from culvert.compile.authorization.strangers import Closed, closed_to_strangers
from culvert.compile.node import compile_node
from culvert.model.desired import Desired
from culvert.model.node import Namespace
from culvert.model.policy import (
    AssignedPolicy,
    AuthorizationAction,
    AuthorizationPolicy,
    Condition,
    MtlsMode,
    Operation,
    PeerAuthentication,
    Rule,
    Source,
)
from culvert.model.redirect import ANY_PORT, DestinationKey, address16
from culvert.model.settings import Settings
from culvert.model.workload import Phase, Workload
from culvert.model.world import World

ALLOW, DENY, AUDIT = (
    AuthorizationAction.ALLOW,
    AuthorizationAction.DENY,
    AuthorizationAction.AUDIT,
)
FRONT = Source(principals=("cluster.local/ns/shop/sa/front",))
BY_FRONT = Rule(sources=(FRONT,))
ANYBODY = Rule()
OPEN, CLOSED = Closed(), Closed(True)


def policy(action: AuthorizationAction, *rules: Rule, **more: Any) -> AuthorizationPolicy:
    return AuthorizationPolicy(
        namespace="shop", name="callers", uid="u", generation=1, action=action, rules=rules, **more
    )


def at(*ports: int) -> Rule:
    return Rule(operations=(Operation(ports=ports),))


def closed(*policies: AuthorizationPolicy) -> Closed:
    return closed_to_strangers([AssignedPolicy(one) for one in policies])


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        pytest.param((), OPEN, id="no policy"),
        pytest.param((policy(ALLOW, BY_FRONT),), CLOSED, id="allows somebody"),
        pytest.param((policy(ALLOW),), CLOSED, id="allows nobody"),
        pytest.param((policy(ALLOW, BY_FRONT), policy(ALLOW, ANYBODY)), OPEN, id="allows all"),
        pytest.param((policy(DENY, ANYBODY), policy(ALLOW, ANYBODY)), CLOSED, id="denies all"),
        pytest.param((policy(DENY, BY_FRONT),), OPEN, id="denies whom strangers are not"),
        pytest.param(
            (policy(DENY, Rule(sources=(Source(not_namespaces=("shop",)),))),),
            CLOSED,
            id="denies whoever is not somebody",
        ),
        pytest.param(
            (policy(DENY, Rule(conditions=(Condition(key="source.namespace", values=("a",)),))),),
            OPEN,
            id="denies by a condition that strangers do not meet",
        ),
        pytest.param(
            (policy(DENY, Rule(operations=(Operation(paths=("/admin",)),))),),
            CLOSED,
            id="denies a path, which is not seen",
        ),
        pytest.param(
            (policy(ALLOW, Rule(operations=(Operation(methods=("GET",)),))),),
            CLOSED,
            id="allows a method, which is not seen",
        ),
        pytest.param(
            (policy(ALLOW, Rule(sources=(Source(ip_blocks=("10.0.0.0/8",)),))),),
            CLOSED,
            id="allows some addresses",
        ),
        pytest.param((policy(ALLOW, BY_FRONT, dry_run=True),), OPEN, id="a dry run"),
        pytest.param((policy(AUDIT, ANYBODY),), OPEN, id="an audit"),
        pytest.param((policy(DENY, at(81)),), Closed(False, {81: True}), id="denies a port"),
        pytest.param(
            (policy(ALLOW, BY_FRONT, at(9090)),),
            Closed(True, {9090: False}),
            id="allows all at one port",
        ),
        pytest.param(
            (policy(DENY, Rule(operations=(Operation(not_ports=(81,)),))),),
            Closed(True, {81: False}),
            id="denies all but a port",
        ),
    ],
)
def test_closed_is_where_some_stranger_may_be_refused(
    policies: tuple[AuthorizationPolicy, ...], expected: Closed
) -> None:
    assert closed(*policies) == expected


def test_policy_for_ports_of_a_service_closes_these() -> None:
    found = closed_to_strangers([AssignedPolicy(policy(ALLOW, BY_FRONT), frozenset({8080}))])
    assert found == Closed(False, {8080: True})


WEB = DestinationKey(address16("10.0.0.1"), ANY_PORT)


def compiled(mode: MtlsMode | None = None, **settings: Any) -> Desired:
    """Of a node with the pod web, which has a policy, and the pod new, without an address yet."""
    pods = (
        Workload("shop", "web", "web", "node-a", ("10.0.0.1",), Phase.RUNNING),
        Workload("shop", "new", "new", "node-a"),
    )
    peers = () if mode is None else (PeerAuthentication(namespace="shop", name="all", mode=mode),)
    callers = policy(ALLOW, BY_FRONT)
    world = World(
        namespaces={"shop": Namespace("shop", {"culvert.dev/mesh": "enabled"})},
        workloads={pod.key: pod for pod in pods},
        authorization_policies={callers.key: callers},
        peer_authentications={one.key: one for one in peers},
        local_cgroups={"web": 1, "new": 2},
        settings=Settings(identity=True, **settings),
    )
    return compile_node(world, "node-a")


def test_pods_with_policies_take_no_plain_text_where_nothing_is_said() -> None:
    desired = compiled()
    assert desired.redirect.strict == {WEB: True}
    assert desired.redirect.strict_pods == {1: True, 2: True, 0: False}
    assert desired.findings == ()


@pytest.mark.parametrize("mode", [MtlsMode.PERMISSIVE, MtlsMode.DISABLE])
def test_who_asks_for_plain_text_has_it_and_is_told_what_it_means(mode: MtlsMode) -> None:
    desired = compiled(mode)
    assert desired.redirect.strict == {}
    assert [finding.code for finding in desired.findings] == ["CV0306"]


def test_while_nodes_do_not_ask_for_mutual_tls_they_come_in_plain_text() -> None:
    assert compiled(accept_only=True).redirect.strict == {}
    assert compiled(MtlsMode.STRICT, accept_only=True).redirect.strict == {WEB: True}
