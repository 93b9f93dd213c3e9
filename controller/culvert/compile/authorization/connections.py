"""AuthorizationPolicies on connections, as the choice between two filter chains; pure.

Envoy's RBAC filter for connections looks when the first byte comes from the client. A server that
speaks first would have been connected to, and heard, by then. A listener chooses the filter chain
before anything is connected to, so the policies are written as its matcher: one chain leads to the
pod, the other nowhere. Fields about HTTP count as ``evaluate`` says of bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2 as inputs
from envoy.extensions.matching.input_matchers.ip.v3.ip_pb2 import Ip
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue, UInt32Value
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher
from xds.type.matcher.v3.regex_pb2 import RegexMatcher
from xds.type.matcher.v3.string_pb2 import StringMatcher

from culvert.compile import filter_state
from culvert.compile.authorization.expression import (
    Expression,
    Predicate,
    Test,
    all_of,
    as_predicate,
    negated,
    some_of,
)
from culvert.compile.packing import pack
from culvert.model.policy import (
    AssignedPolicy,
    AuthorizationAction,
    Condition,
    Operation,
    Rule,
    Source,
)

ALLOW_CHAIN = "allow"
DENY_CHAIN = "deny"

_SCHEME = "spiffe://"
_ALLOW, _DENY = AuthorizationAction.ALLOW, AuthorizationAction.DENY


def connection_matcher(pods: Mapping[str, Sequence[AssignedPolicy]]) -> Matcher:
    """Choose ``ALLOW_CHAIN`` or ``DENY_CHAIN``; ``pods`` are policies by address of the pod.

    A pod that is not among them has no policies, and every connection to it is allowed.
    """
    matcher = Matcher(on_no_match=_chain(ALLOW_CHAIN))
    if pods:
        tree = matcher.matcher_tree
        tree.input.CopyFrom(_input(inputs.DestinationIPInput()))
        for address, policies in sorted(pods.items()):
            tree.exact_match_map.map[address].matcher.CopyFrom(_of_pod(policies))
    return matcher


def _of_pod(policies: Iterable[AssignedPolicy]) -> Matcher:
    enforced = (one for one in policies if not one.policy.dry_run)
    ordered = sorted(enforced, key=lambda one: one.policy.key)
    steps = [
        (_matching(ordered, _DENY), DENY_CHAIN),
        (_matching(ordered, _ALLOW), ALLOW_CHAIN),
        (
            some_of(_at(one.ports_host) for one in ordered if one.policy.action is _ALLOW),
            DENY_CHAIN,
        ),
    ]
    matcher = Matcher()
    for expression, chain in steps:
        if expression is False:
            continue
        if expression is True:
            matcher.on_no_match.CopyFrom(_chain(chain))
            return _closed(matcher)
        field = matcher.matcher_list.matchers.add()
        field.predicate.CopyFrom(as_predicate(expression))
        field.on_match.CopyFrom(_chain(chain))
    matcher.on_no_match.CopyFrom(_chain(ALLOW_CHAIN))
    return _closed(matcher)


def _closed(matcher: Matcher) -> Matcher:
    """Envoy wants a matcher to have something to match."""
    if not matcher.matcher_list.matchers:
        field = matcher.matcher_list.matchers.add()
        field.predicate.CopyFrom(as_predicate(_text(inputs.DestinationPortInput(), exact="0")))
        field.on_match.CopyFrom(_chain(DENY_CHAIN))
    return matcher


def _matching(policies: Iterable[AssignedPolicy], action: AuthorizationAction) -> Expression:
    return some_of(
        all_of((_at(one.ports_host), _rule(rule, unseen=action is _DENY)))
        for one in policies
        if one.policy.action is action
        for rule in one.policy.rules
    )


def _rule(rule: Rule, *, unseen: bool) -> Expression:
    return all_of(
        (
            not rule.sources or some_of(_source(one) for one in rule.sources),
            not rule.operations or some_of(_operation(one, unseen) for one in rule.operations),
            *(_condition(one, unseen) for one in rule.conditions),
        )
    )


def _source(source: Source) -> Expression:
    return all_of(
        (
            _fits(map(_principal, source.principals), map(_principal, source.not_principals)),
            _fits(map(_namespace, source.namespaces), map(_namespace, source.not_namespaces)),
            _fits(map(_source_ip, source.ip_blocks), map(_source_ip, source.not_ip_blocks)),
        )
    )


def _operation(operation: Operation, unseen: bool) -> Expression:
    fields = (operation.hosts, operation.not_hosts, operation.methods, operation.not_methods)
    is_http = any((*fields, operation.paths, operation.not_paths))
    ports = map(_port, operation.ports)
    return all_of((_fits(ports, map(_port, operation.not_ports)), unseen if is_http else True))


def _condition(condition: Condition, unseen: bool) -> Expression:
    if condition.key.startswith("request."):
        return unseen
    test = {
        "source.ip": _source_ip,
        "source.namespace": _namespace,
        "source.principal": _principal,
        "destination.ip": _destination_ip,
        "destination.port": _port_text,
        "connection.sni": _nothing,
    }[condition.key]
    return _fits(map(test, condition.values), map(test, condition.not_values))


def _fits(wanted: Iterable[Expression], unwanted: Iterable[Expression]) -> Expression:
    """One of ``wanted``, if there are any, and none of ``unwanted``."""
    options = list(wanted)
    return all_of((not options or some_of(options), negated(some_of(unwanted))))


def _at(ports_host: frozenset[int] | None) -> Expression:
    return True if ports_host is None else some_of(_port(port) for port in sorted(ports_host))


def _principal(pattern: str) -> Expression:
    seen = inputs.FilterStateInput(key=filter_state.PRINCIPAL)
    if pattern.startswith("*") and pattern != "*":
        return _regex(seen, re.escape(_SCHEME) + ".*" + re.escape(pattern[1:]))
    if pattern.endswith("*"):
        return _text(seen, prefix=_SCHEME + pattern[:-1])
    return _text(seen, exact=_SCHEME + pattern)


def _namespace(pattern: str) -> Expression:
    if pattern == "*":
        name = "[^/]+"
    elif pattern.endswith("*"):
        name = re.escape(pattern[:-1]) + "[^/]*"
    elif pattern.startswith("*"):
        name = "[^/]*" + re.escape(pattern[1:])
    else:
        name = re.escape(pattern)
    seen = inputs.FilterStateInput(key=filter_state.PRINCIPAL)
    return _regex(seen, f"{re.escape(_SCHEME)}[^/]+/ns/{name}/sa/[^/]+")


def _source_ip(block: str) -> Expression:
    return _in_range(inputs.FilterStateInput(key=filter_state.SOURCE), block)


def _destination_ip(block: str) -> Expression:
    return _in_range(inputs.DestinationIPInput(), block)


def _port(port_host: int) -> Expression:
    return _text(inputs.DestinationPortInput(), exact=str(port_host))


def _port_text(pattern: str) -> Expression:
    seen = inputs.DestinationPortInput()
    if pattern == "*":
        return True
    if pattern.endswith("*"):
        return _text(seen, prefix=pattern[:-1])
    if pattern.startswith("*"):
        return _text(seen, suffix=pattern[1:])
    return _text(seen, exact=pattern)


def _nothing(_pattern: str) -> Expression:
    """Nothing is known of what is inside the bytes."""
    return False


def _text(seen: Message, **how: str) -> Test:
    return _single(seen, StringMatcher(**how))


def _regex(seen: Message, regex: str) -> Test:
    google = RegexMatcher(google_re2=RegexMatcher.GoogleRE2(), regex=regex)
    return _single(seen, StringMatcher(safe_regex=google))


def _single(seen: Message, value: StringMatcher) -> Test:
    return Test(Predicate.SinglePredicate(input=_input(seen), value_match=value))


def _in_range(seen: Message, block: str) -> Test:
    network = ip_network(block, strict=False)
    bits = UInt32Value(value=network.prefixlen)
    of_range = CidrRange(address_prefix=str(network.network_address), prefix_len=bits)
    ip = Ip(cidr_ranges=[of_range], stat_prefix="authorization")
    custom = TypedExtensionConfig(name="envoy.matching.matchers.ip", typed_config=pack(ip))
    return Test(Predicate.SinglePredicate(input=_input(seen), custom_match=custom))


def _input(seen: Message) -> TypedExtensionConfig:
    return TypedExtensionConfig(name=seen.DESCRIPTOR.name, typed_config=pack(seen))


def _chain(name: str) -> Matcher.OnMatch:
    action = TypedExtensionConfig(name=name, typed_config=pack(StringValue(value=name)))
    return Matcher.OnMatch(action=action)
