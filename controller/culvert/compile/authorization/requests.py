"""AuthorizationPolicies on requests, as rules of Envoy's RBAC filters; pure.

Three filters look at each request, for AUDIT, DENY and ALLOW. A pod's port has rules of its own for
them, in its routes. What a request is to the filters it is to ``evaluate``, and a test holds the
two, and Envoy, to the same answers.

What refuses nothing, AUDIT and dry runs, are shadow rules (Envoy, "RBAC filter"): their verdict is
in the request's metadata, and ``compile.policy_log`` makes lines of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from ipaddress import ip_network

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.type.matcher.v3.address_pb2 import AddressMatcher
from envoy.type.matcher.v3.filter_state_pb2 import FilterStateMatcher
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import UInt32Value
from xds.core.v3.cidr_pb2 import CidrRange as AddressRange

from culvert.compile import filter_state
from culvert.compile.authorization.claims import fitting, token_test
from culvert.compile.authorization.patterns import AMBIGUOUS_PATH
from culvert.compile.http import DESTINATION_HEADER
from culvert.compile.packing import pack
from culvert.model.policy import (
    AuthorizationAction,
    AuthorizationPolicy,
    Condition,
    Operation,
    Rule,
    Source,
)

AUDIT_FILTER = "culvert.audit"
DENY_FILTER = "culvert.deny"
ALLOW_FILTER = "culvert.allow"

_SCHEME = "spiffe://"
_AUDIT, _DENY, _ALLOW = (
    AuthorizationAction.AUDIT,
    AuthorizationAction.DENY,
    AuthorizationAction.ALLOW,
)


def request_filters() -> tuple[manager_pb2.HttpFilter, ...]:
    """The filters that judge; without rules they refuse nothing."""
    return tuple(
        manager_pb2.HttpFilter(name=name, typed_config=pack(_filter(name)))
        for name in (AUDIT_FILTER, DENY_FILTER, ALLOW_FILTER)
    )


def request_rules(
    policies: Iterable[AuthorizationPolicy], issuers: Sequence[str] = ()
) -> Mapping[str, AnyMessage]:
    """What routes say of the filters, by filter; ``policies`` are all those for the pod's port.

    ``issuers`` are those of tokens that are verified.
    """
    ordered = sorted(policies, key=lambda one: one.key)
    of = {
        (action, dry_run): [
            one for one in ordered if (one.action, one.dry_run) == (action, dry_run)
        ]
        for action in AuthorizationAction
        for dry_run in (False, True)
    }
    in_force, tried = of[_ALLOW, False], of[_ALLOW, True]
    filters = (
        _filter(
            AUDIT_FILTER,
            shadow=_rules_of(of[_AUDIT, False] + of[_AUDIT, True], RBAC.ALLOW, issuers),
        ),
        _filter(
            DENY_FILTER,
            rules=_rules_of(of[_DENY, False], RBAC.DENY, issuers),
            shadow=_rules_of(of[_DENY, True], RBAC.DENY, issuers),
        ),
        _filter(
            ALLOW_FILTER,
            rules=_rules_of(in_force, RBAC.ALLOW, issuers),
            # What would be allowed is what any of them allows.
            shadow=_rules_of(in_force + tried, RBAC.ALLOW, issuers) if tried else None,
        ),
    )
    return {
        one.rules_stat_prefix.removesuffix("."): pack(rbac_pb2.RBACPerRoute(rbac=one))
        for one in filters
        if one.HasField("rules") or one.HasField("shadow_rules")
    }


def _filter(name: str, rules: RBAC | None = None, shadow: RBAC | None = None) -> rbac_pb2.RBAC:
    return rbac_pb2.RBAC(
        rules=rules,
        rules_stat_prefix=f"{name}.",
        shadow_rules=shadow,
        shadow_rules_stat_prefix=f"{name}.",
    )


def _rules_of(
    policies: Iterable[AuthorizationPolicy], action: RBAC.Action, issuers: Sequence[str]
) -> RBAC | None:
    """Rules that do ``action`` where one of the policies matches; None without policies."""
    found = list(policies)
    if not found:
        return None
    rules = RBAC(action=action)
    for policy in found:
        for index, rule in enumerate(policy.rules):
            rules.policies[f"{policy.key}/{index}"].CopyFrom(
                _policy(rule, issuers, is_deny=policy.action is _DENY)
            )
    return rules


def _policy(rule: Rule, issuers: Sequence[str], *, is_deny: bool) -> Policy:
    of_source = [one for one in rule.conditions if one.key.startswith("source.")]
    of_request = [one for one in rule.conditions if not one.key.startswith("source.")]
    return Policy(
        principals=[
            _all_ids(
                [
                    *([_any_id(map(_source, rule.sources))] if rule.sources else []),
                    *map(_source_condition, of_source),
                ]
            )
        ],
        permissions=[
            _all_rules(
                [
                    *(
                        [_any_rule(map(partial(_operation, is_deny=is_deny), rule.operations))]
                        if rule.operations
                        else []
                    ),
                    *(_request_condition(one, issuers) for one in of_request),
                ]
            )
        ],
    )


def _source(source: Source) -> Principal:
    return _all_ids(
        [
            *_ids(_principal, source.principals, source.not_principals),
            *_ids(_namespace, source.namespaces, source.not_namespaces),
            *_ids(_address, source.ip_blocks, source.not_ip_blocks),
        ]
    )


def _source_condition(condition: Condition) -> Principal:
    test = {
        "source.ip": _address,
        "source.namespace": _namespace,
        "source.principal": _principal,
    }[condition.key]
    return _all_ids(_ids(test, condition.values, condition.not_values))


def _operation(operation: Operation, *, is_deny: bool) -> Permission:
    rules = [
        *_rules(_port, operation.ports, operation.not_ports),
        *_rules(_host, operation.hosts, operation.not_hosts),
        *_rules(partial(_header, ":method"), operation.methods, operation.not_methods),
    ]
    of_path = _rules(_path, operation.paths, operation.not_paths)
    if of_path:
        ambiguous = _path_regex(f"(?s).*({AMBIGUOUS_PATH}).*")
        plain = _all_rules(of_path)
        rules.append(
            _any_rule([ambiguous, plain])
            if is_deny
            else _all_rules([Permission(not_rule=ambiguous), plain])
        )
    return _all_rules(rules)


def _request_condition(condition: Condition, issuers: Sequence[str]) -> Permission:
    test: Callable[[str], Permission]
    if condition.key == "destination.ip":
        test = _destination
    elif condition.key == "destination.port":
        test = _port_text
    elif condition.key.startswith("request.headers["):
        test = partial(_header, condition.key.removeprefix("request.headers[")[:-1].lower())
    elif condition.key.startswith("request.auth."):
        test = token_test(condition.key, issuers)
    else:
        # No TLS of pods is looked into: connection.sni is never there.
        test = _never
    return _all_rules(_rules(test, condition.values, condition.not_values))


def _principal(pattern: str) -> Principal:
    if pattern.startswith("*") and pattern != "*":
        return _identity(_regex(re.escape(_SCHEME) + ".*" + re.escape(pattern[1:])))
    if pattern.endswith("*"):
        return _identity(StringMatcher(prefix=_SCHEME + pattern[:-1]))
    return _identity(StringMatcher(exact=_SCHEME + pattern))


def _namespace(pattern: str) -> Principal:
    if "*" not in pattern:
        # Neither a trust domain nor a service account has a slash in it.
        return _identity(StringMatcher(contains=f"/ns/{pattern}/sa/"))
    name = _regex_of(pattern, "[^/]*")
    return _identity(_regex(f"{re.escape(_SCHEME)}[^/]+/ns/{name}/sa/[^/]+"))


def _regex_of(pattern: str, anything: str) -> str:
    if pattern == "*":
        return anything.replace("*", "+")
    if pattern.endswith("*"):
        return re.escape(pattern[:-1]) + anything
    if pattern.startswith("*"):
        return anything + re.escape(pattern[1:])
    return re.escape(pattern)


def _regex(regex: str) -> StringMatcher:
    return StringMatcher(safe_regex=RegexMatcher(regex=regex))


def _identity(value: StringMatcher) -> Principal:
    return Principal(
        filter_state=FilterStateMatcher(key=filter_state.PRINCIPAL, string_match=value)
    )


def _address(block: str) -> Principal:
    network = ip_network(block, strict=False)
    of_range = AddressRange(
        address_prefix=str(network.network_address),
        prefix_len=UInt32Value(value=network.prefixlen),
    )
    return Principal(
        filter_state=FilterStateMatcher(
            key=filter_state.SOURCE_IP, address_match=AddressMatcher(ranges=[of_range])
        )
    )


def _port(port_host: int) -> Permission:
    return Permission(destination_port=port_host)


def _destination(block: str) -> Permission:
    network = ip_network(block, strict=False)
    return Permission(
        destination_ip=CidrRange(
            address_prefix=str(network.network_address),
            prefix_len=UInt32Value(value=network.prefixlen),
        )
    )


def _port_text(pattern: str) -> Permission:
    return _header_regex(DESTINATION_HEADER, f".*:{_regex_of(pattern, '[0-9]*')}")


def _host(pattern: str) -> Permission:
    if pattern == "*":
        return _header_regex(":authority", ".+")
    if pattern.endswith("*"):
        return _header_regex(":authority", "(?i)" + re.escape(pattern[:-1]) + ".*")
    anything = ".*" if pattern.startswith("*") else ""
    return _header_regex(":authority", f"(?i){anything}{re.escape(pattern.lstrip('*'))}(:[0-9]+)?")


def _header(name: str, pattern: str) -> Permission:
    return _header_value(name, fitting(pattern))


def _header_regex(name: str, regex: str) -> Permission:
    return _header_value(name, _regex(regex))


def _header_value(name: str, value: StringMatcher) -> Permission:
    return Permission(header=HeaderMatcher(name=name, string_match=value))


def _path(pattern: str) -> Permission:
    return _path_value(fitting(pattern))


def _path_regex(regex: str) -> Permission:
    return _path_value(_regex(regex))


def _path_value(value: StringMatcher) -> Permission:
    return Permission(url_path=PathMatcher(path=value))


def _never(_pattern: str) -> Permission:
    return Permission(not_rule=Permission(any=True))


def _ids(
    test: Callable[[str], Principal], wanted: Sequence[str], unwanted: Sequence[str]
) -> list[Principal]:
    found = [_any_id(map(test, wanted))] if wanted else []
    return [*found, *(Principal(not_id=test(one)) for one in unwanted)]


def _rules(
    test: Callable[..., Permission], wanted: Sequence[object], unwanted: Sequence[object]
) -> list[Permission]:
    found = [_any_rule(map(test, wanted))] if wanted else []
    return [*found, *(Permission(not_rule=test(one)) for one in unwanted)]


def _any_id(ids: Iterable[Principal]) -> Principal:
    some = list(ids)
    return some[0] if len(some) == 1 else Principal(or_ids=Principal.Set(ids=some))


def _all_ids(ids: Sequence[Principal]) -> Principal:
    if not ids:
        return Principal(any=True)
    return ids[0] if len(ids) == 1 else Principal(and_ids=Principal.Set(ids=ids))


def _any_rule(rules: Iterable[Permission]) -> Permission:
    some = list(rules)
    return some[0] if len(some) == 1 else Permission(or_rules=Permission.Set(rules=some))


def _all_rules(rules: Sequence[Permission]) -> Permission:
    if not rules:
        return Permission(any=True)
    return rules[0] if len(rules) == 1 else Permission(and_rules=Permission.Set(rules=rules))
