"""What policies say of a connection or a request; pure.

A DENY policy that matches refuses. Else, if there is no ALLOW policy, or one of them matches, it
is allowed. Else it is refused. AUDIT policies have no say; those that match are named. A policy
matches if one of its rules does, so one without rules never does. A dry run has no say either, but
in ``rehearse``.

On a connection that carries bytes, fields about HTTP cannot be told, and the strict reading holds:
they keep an ALLOW or AUDIT rule from matching, and keep no DENY rule from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from culvert.compile.authorization.facts import Connection, HttpRequest
from culvert.compile.authorization.rules import matches_rule
from culvert.model.key import ObjectKey
from culvert.model.policy import AuthorizationAction, AuthorizationPolicy


@dataclass(frozen=True, slots=True)
class Decision:
    """``by`` is the policy, and the index of its rule, that settled it.

    None where no policy matched: allowed as there is no ALLOW policy, or refused as there is one.
    """

    allowed: bool
    by: tuple[ObjectKey, int] | None = None
    audited_by: tuple[ObjectKey, ...] = ()


def evaluate(
    policies: Iterable[AuthorizationPolicy],
    connection: Connection,
    request: HttpRequest | None = None,
) -> Decision:
    """Decide by the policies that are for the pod; their order is of no matter."""
    return _decide(
        [one for one in policies if not one.dry_run or one.action is AuthorizationAction.AUDIT],
        connection,
        request,
    )


def rehearse(
    policies: Iterable[AuthorizationPolicy],
    connection: Connection,
    request: HttpRequest | None = None,
) -> Decision | None:
    """The decision if dry runs were in force; None where the verdict is the same."""
    some = list(policies)
    rehearsed = _decide(some, connection, request)
    is_same = rehearsed.allowed == evaluate(some, connection, request).allowed
    return None if is_same else rehearsed


def may_allow(policies: Iterable[AuthorizationPolicy], connection: Connection) -> bool:
    """Whether they would allow any request on a connection, as far as the connection tells."""
    in_force = [one for one in policies if not one.dry_run]
    denies = [one for one in in_force if one.action is AuthorizationAction.DENY]
    allows = [one for one in in_force if one.action is AuthorizationAction.ALLOW]

    def matches(policy: AuthorizationPolicy, *, unseen: bool) -> bool:
        return any(matches_rule(rule, connection, None, unseen=unseen) for rule in policy.rules)

    if any(matches(one, unseen=False) for one in denies):
        return False
    return not allows or any(matches(one, unseen=True) for one in allows)


def _decide(
    policies: Iterable[AuthorizationPolicy],
    connection: Connection,
    request: HttpRequest | None,
) -> Decision:
    matching: dict[AuthorizationAction, list[tuple[ObjectKey, int]]] = {
        action: [] for action in AuthorizationAction
    }
    has_allow = False
    for policy in sorted(policies, key=lambda one: one.key):
        has_allow |= policy.action is AuthorizationAction.ALLOW
        index = _first_match(policy, connection, request)
        if index is not None:
            matching[policy.action].append((policy.key, index))
    audited_by = tuple(key for key, _ in matching[AuthorizationAction.AUDIT])
    if matching[AuthorizationAction.DENY]:
        return Decision(False, matching[AuthorizationAction.DENY][0], audited_by)
    if matching[AuthorizationAction.ALLOW]:
        return Decision(True, matching[AuthorizationAction.ALLOW][0], audited_by)
    return Decision(not has_allow, None, audited_by)


def _first_match(
    policy: AuthorizationPolicy, connection: Connection, request: HttpRequest | None
) -> int | None:
    unseen = policy.action is AuthorizationAction.DENY
    return next(
        (
            index
            for index, rule in enumerate(policy.rules)
            if matches_rule(rule, connection, request, unseen=unseen)
        ),
        None,
    )
