"""Policies that somebody outside the mesh gets around, and where that is said."""

from __future__ import annotations

import msgspec
from culvert.compile.authorization.binding import unbound
from culvert.model.policy import (
    AssignedPolicy,
    AuthorizationAction,
    AuthorizationPolicy,
    Operation,
    Rule,
    Source,
)
from culvert.model.redirect import ANY_PORT, DestinationKey, address16

POD = "10.0.0.9"
FRONT = Source(principals=("cluster.local/ns/shop/sa/front",))
POLICY = AuthorizationPolicy(
    namespace="shop", name="one", selector={"app": "web"}, rules=(Rule(sources=(FRONT,)),)
)
WHOLE = DestinationKey(address16(POD), ANY_PORT)
PORT = DestinationKey(address16(POD), 8080)


def told(
    strict: dict[DestinationKey, bool], policy: AuthorizationPolicy = POLICY, *ports_host: int
) -> int:
    assigned = AssignedPolicy(policy, frozenset(ports_host) or None)
    return len(list(unbound({POD: [assigned]}, strict)))


def test_a_policy_on_a_pod_that_takes_plain_text_is_told_of() -> None:
    assert told({}) == 1
    assert told({WHOLE: False, PORT: True}) == 1
    assert told({WHOLE: True}) == 0


def test_a_policy_for_a_port_needs_that_port_to_be_strict() -> None:
    assert told({WHOLE: False, PORT: True}, POLICY, 8080) == 0
    assert told({WHOLE: True, PORT: False}, POLICY, 8080) == 1
    assert told({WHOLE: True, PORT: False}, POLICY, 9090) == 0


def test_what_refuses_nobody_need_not_bind() -> None:
    audit = msgspec.structs.replace(POLICY, action=AuthorizationAction.AUDIT)
    assert told({}, audit) == 0
    assert told({}, msgspec.structs.replace(POLICY, dry_run=True)) == 0


def test_who_is_denied_by_an_identity_may_leave_it_behind() -> None:
    deny = msgspec.structs.replace(POLICY, action=AuthorizationAction.DENY)
    assert told({}, deny) == 1
    assert told({WHOLE: True}, deny) == 0
    assert told({WHOLE: False, PORT: True}, deny, 8080) == 0


def test_a_policy_that_says_something_of_one_port_needs_that_one_to_be_strict() -> None:
    rule = Rule(operations=(Operation(ports=(8080,)),))
    deny = msgspec.structs.replace(POLICY, action=AuthorizationAction.DENY, rules=(rule,))
    assert told({WHOLE: False, PORT: True}, deny) == 0
    assert told({WHOLE: True, PORT: False}, deny) == 1


def test_a_policy_that_allows_what_another_allows_to_all_need_not_bind() -> None:
    everybody = msgspec.structs.replace(POLICY, name="two", rules=(Rule(),))
    assert list(unbound({POD: [AssignedPolicy(POLICY), AssignedPolicy(everybody)]}, {})) == []
