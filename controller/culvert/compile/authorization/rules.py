"""Whether a rule matches; pure.

A rule about HTTP may meet a connection of which nothing but bytes is known. What its HTTP fields
then count for is the caller's: nothing must be allowed for what was not seen, nor pass a refusal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from culvert.compile.authorization.facts import Connection, HttpRequest
from culvert.compile.authorization.patterns import (
    any_of,
    holds,
    is_ambiguous,
    matches,
    matches_host,
)
from culvert.model.policy import Condition, Operation, Rule, Source

_CLAIM = re.compile(r"request\.auth\.claims\[(.+)\]")
_HEADER = re.compile(r"request\.headers\[([^\]]+)\]")


def matches_rule(
    rule: Rule, connection: Connection, request: HttpRequest | None, *, unseen: bool
) -> bool:
    """Whether one of the sources, one of the operations and all of the conditions match.

    Without a ``request`` every field and condition about HTTP, a negated one too, is ``unseen``; so
    are fields about a path that is ambiguous.
    """
    return (
        (not rule.sources or any(_is_source(one, connection) for one in rule.sources))
        and (
            not rule.operations
            or any(_is_operation(one, connection, request, unseen) for one in rule.operations)
        )
        and all(_meets(one, connection, request, unseen) for one in rule.conditions)
    )


def is_about_http(rule: Rule) -> bool:
    """Whether anything in a rule cannot be told of bytes."""
    return any(_http_fields(one) for one in rule.operations) or any(
        one.key.startswith("request.") for one in rule.conditions
    )


def _is_source(source: Source, connection: Connection) -> bool:
    return (
        _fits(source.principals, source.not_principals, connection.principal)
        and _fits(source.namespaces, source.not_namespaces, connection.namespace)
        and _fits(source.ip_blocks, source.not_ip_blocks, connection.source_address, holds)
    )


def _is_operation(
    operation: Operation, connection: Connection, request: HttpRequest | None, unseen: bool
) -> bool:
    port = connection.destination_port_host
    if operation.ports and port not in operation.ports:
        return False
    if port in operation.not_ports:
        return False
    if request is None:
        return unseen if _http_fields(operation) else True
    path = re.split("[?#]", request.path, maxsplit=1)[0]
    is_path = _fits(operation.paths, operation.not_paths, path)
    if (operation.paths or operation.not_paths) and is_ambiguous(path):
        is_path = unseen
    return (
        _fits(operation.hosts, operation.not_hosts, request.host, matches_host)
        and _fits(operation.methods, operation.not_methods, request.method)
        and is_path
    )


def _http_fields(operation: Operation) -> bool:
    return bool(
        operation.hosts
        or operation.not_hosts
        or operation.methods
        or operation.not_methods
        or operation.paths
        or operation.not_paths
    )


def _meets(
    condition: Condition, connection: Connection, request: HttpRequest | None, unseen: bool
) -> bool:
    if condition.key.startswith("request.") and request is None:
        return unseen
    fits = holds if condition.key.endswith(".ip") else matches
    seen = _attribute(condition.key, connection, request)

    def is_one(patterns: Iterable[str]) -> bool:
        return any(any_of(patterns, value, fits) for value in seen)

    return (not condition.values or is_one(condition.values)) and not is_one(condition.not_values)


def _attribute(key: str, connection: Connection, request: HttpRequest | None) -> tuple[str, ...]:
    """The values that an attribute has; most have one, which is empty where it is not there."""
    match key:
        case "source.ip":
            return (connection.source_address,)
        case "source.namespace":
            return (connection.namespace,)
        case "source.principal":
            return (connection.principal,)
        case "destination.ip":
            return (connection.destination_address,)
        case "destination.port":
            return (str(connection.destination_port_host),)
        case "connection.sni":
            return (connection.sni,)
    assert request is not None
    if header := _HEADER.fullmatch(key):
        return (request.headers.get(header[1].lower(), ""),)
    if claim := _CLAIM.fullmatch(key):
        return request.token_claims.get(tuple(claim[1].split("][")), ())
    if key == "request.auth.audiences":
        return request.token_audiences
    return (request.token_principal,)


def _fits(
    wanted: tuple[str, ...],
    unwanted: tuple[str, ...],
    value: str,
    fits: Callable[[str, str], bool] = matches,
) -> bool:
    return (not wanted or any_of(wanted, value, fits)) and not any_of(unwanted, value, fits)
