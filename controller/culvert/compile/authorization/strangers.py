"""Where policies may refuse a caller for whom no proxy vouches; pure.

Such a caller, a stranger, reaches a pod past the mesh: it has no principal and no namespace, and
what it sends is not seen. Where the policies would let every stranger in whatever it asks, nothing
has to be done about it; everywhere else it must not get in, since nobody could judge it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from culvert.compile.authorization.assignment import at_port
from culvert.model.policy import (
    AssignedPolicy,
    AuthorizationAction,
    AuthorizationPolicy,
    Condition,
    Operation,
    Rule,
    Source,
)

_NO_STRANGER_HAS = frozenset({"source.principal", "source.namespace"})


@dataclass(frozen=True, slots=True)
class Closed:
    """``whole`` tells of every port, in host order, that is not in ``ports``."""

    whole: bool = False
    ports: Mapping[int, bool] = field(default_factory=dict)

    def at(self, port_host: int) -> bool:
        """Whether some stranger may be refused at a port."""
        return self.ports.get(port_host, self.whole)

    @property
    def is_closed_anywhere(self) -> bool:
        """Whether some stranger may be refused at any port."""
        return self.whole or any(self.ports.values())


OPEN = Closed()


def closed_to_strangers(policies: Iterable[AssignedPolicy]) -> Closed:
    """Where the policies of a pod may refuse a stranger; what is unclear counts as may."""
    in_force = [
        one
        for one in policies
        if one.policy.action is not AuthorizationAction.AUDIT and not one.policy.dry_run
    ]
    if not in_force:
        return OPEN
    ports = {port for one in in_force for port in (*(one.ports_host or ()), *_named(one.policy))}
    whole = [one.policy for one in in_force if one.ports_host is None]
    return Closed(
        _may_refuse(whole, None),
        {port: _may_refuse(at_port(in_force, port), port) for port in sorted(ports)},
    )


def _named(policy: AuthorizationPolicy) -> Iterable[int]:
    for rule in policy.rules:
        for operation in rule.operations:
            yield from operation.ports
            yield from operation.not_ports


def _may_refuse(policies: Sequence[AuthorizationPolicy], port_host: int | None) -> bool:
    """At one port, or with None at one that no operation names."""
    rules: dict[AuthorizationAction, list[Rule]] = {action: [] for action in AuthorizationAction}
    for policy in policies:
        rules[policy.action] += policy.rules
    if any(_may_match(rule, port_host) for rule in rules[AuthorizationAction.DENY]):
        return True
    has_allow = any(one.action is AuthorizationAction.ALLOW for one in policies)
    return has_allow and not any(
        _matches_all(rule, port_host) for rule in rules[AuthorizationAction.ALLOW]
    )


def _may_match(rule: Rule, port_host: int | None) -> bool:
    """Whether any stranger could meet a rule."""
    return (
        (not rule.sources or any(_may_be(one) for one in rule.sources))
        and (not rule.operations or any(_is_at(one, port_host) for one in rule.operations))
        and all(_may_hold(one) for one in rule.conditions)
    )


def _matches_all(rule: Rule, port_host: int | None) -> bool:
    """Whether every stranger meets a rule."""
    return (
        (not rule.sources or Source() in rule.sources)
        and (
            not rule.operations
            or any(_is_at(one, port_host) and _is_of_ports(one) for one in rule.operations)
        )
        and not rule.conditions
    )


def _may_be(source: Source) -> bool:
    return not source.principals and not source.namespaces


def _may_hold(condition: Condition) -> bool:
    return not (condition.values and condition.key in _NO_STRANGER_HAS)


def _is_at(operation: Operation, port_host: int | None) -> bool:
    named = not operation.ports or port_host in operation.ports
    return named and port_host not in operation.not_ports


def _is_of_ports(operation: Operation) -> bool:
    """Whether it says nothing of anything but ports."""
    return msgspec.structs.replace(operation, ports=(), not_ports=()) == Operation()
