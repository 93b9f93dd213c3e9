"""Rules of an AuthorizationPolicy, from the wire shapes to the model."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from culvert.model.policy import Condition, Operation, Rule, Source
from culvert.sources.decode import policy_wire as wire
from culvert.sources.decode.error import DecodeError
from culvert.sources.decode.values import cidrs, number

_ATTRIBUTE = re.compile(
    r"source\.(ip|namespace|principal)|destination\.(ip|port)|connection\.sni"
    r"|request\.headers\[[^\]]+\]|request\.auth\.(principal|audiences|claims\[.+\])"
)


def rules(seen: Iterable[wire.RuleObject]) -> tuple[Rule, ...]:
    """The rules in their order.

    Raises:
        DecodeError: a value is not valid.
    """
    return tuple(_rule(rule, f"spec.rules[{index}]") for index, rule in enumerate(seen))


def _rule(seen: wire.RuleObject, field: str) -> Rule:
    return Rule(
        sources=tuple(
            _source(entry.source, f"{field}.from[{i}].source")
            for i, entry in enumerate(seen.from_ or ())
        ),
        operations=tuple(
            _operation(entry.operation, f"{field}.to[{i}].operation")
            for i, entry in enumerate(seen.to or ())
        ),
        conditions=tuple(
            _condition(entry, f"{field}.when[{i}]") for i, entry in enumerate(seen.when or ())
        ),
    )


def _source(seen: wire.SourceObject, field: str) -> Source:
    _check_not_empty(seen, field)
    return Source(
        principals=_principals(seen.principals or (), f"{field}.principals"),
        not_principals=_principals(seen.not_principals or (), f"{field}.notPrincipals"),
        namespaces=seen.namespaces or (),
        not_namespaces=seen.not_namespaces or (),
        ip_blocks=cidrs(seen.ip_blocks or (), f"{field}.ipBlocks"),
        not_ip_blocks=cidrs(seen.not_ip_blocks or (), f"{field}.notIpBlocks"),
    )


def _operation(seen: wire.OperationObject, field: str) -> Operation:
    _check_not_empty(seen, field)
    return Operation(
        hosts=seen.hosts or (),
        not_hosts=seen.not_hosts or (),
        ports=_ports(seen.ports, f"{field}.ports"),
        not_ports=_ports(seen.not_ports, f"{field}.notPorts"),
        methods=seen.methods or (),
        not_methods=seen.not_methods or (),
        paths=seen.paths or (),
        not_paths=seen.not_paths or (),
    )


def _condition(seen: wire.When, field: str) -> Condition:
    if not _ATTRIBUTE.fullmatch(seen.key):
        raise DecodeError(
            f"{field}.key",
            f"'{seen.key}' is not a known attribute",
            "use one such as source.namespace or request.headers[x-user]",
        )
    if not seen.values and not seen.not_values:
        raise DecodeError(field, "has no values", "set values or notValues")
    values, not_values = seen.values or (), seen.not_values or ()
    if seen.key.endswith(".ip"):
        values = cidrs(values, f"{field}.values")
        not_values = cidrs(not_values, f"{field}.notValues")
    elif seen.key == "source.principal":
        _principals(values, f"{field}.values")
        _principals(not_values, f"{field}.notValues")
    return Condition(key=seen.key, values=values, not_values=not_values)


def _principals(seen: tuple[str, ...], field: str) -> tuple[str, ...]:
    # With the scheme it would never match, and DENY would be silently open.
    for index, principal in enumerate(seen):
        if "://" in principal:
            raise DecodeError(
                f"{field}[{index}]",
                f"'{principal}' has a scheme",
                "leave it out: cluster.local/ns/shop/sa/web",
            )
    return seen


def _ports(seen: tuple[int, ...] | None, field: str) -> tuple[int, ...]:
    for index, port in enumerate(seen or ()):
        number(port, f"{field}[{index}]", 1, 65535)
    return seen or ()


def _check_not_empty(seen: wire.SourceObject | wire.OperationObject, field: str) -> None:
    # An empty match would read as "everything" to some and "nothing" to others.
    if not any(msgspec.structs.astuple(seen)):
        raise DecodeError(field, "is empty", "set one of its fields, or leave it out")
