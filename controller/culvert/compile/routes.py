"""Routes of HTTP Service ports: one scope per address and port that clients connect to."""

from __future__ import annotations

from envoy.config.route.v3.route_components_pb2 import (
    HeaderMatcher,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from culvert.compile.access_log import request_markers
from culvert.compile.names import socket_address_text
from culvert.compile.packing import duration, resource
from culvert.compile.retries import any_method_conditions, retry_policy
from culvert.compile.traffic import ServiceTraffic
from culvert.model.desired import Resource
from culvert.model.traffic import AffinityKind, RetryCondition, SessionAffinity

IDEMPOTENT_METHODS = "GET|HEAD|OPTIONS|TRACE|PUT|DELETE"
"""RFC 9110, section 9.2.2: sent twice, they do what they do when sent once."""


def compile_scope(
    address: str, port_host: int, route_name: str, cluster: str, traffic: ServiceTraffic
) -> Resource:
    """All requests to one destination go to ``cluster``.

    Where a condition for retries asks for idempotence, the methods that have it get a route of
    their own, before that of all others.
    """
    destination = socket_address_text(address, port_host)
    safe = any_method_conditions(traffic.retry_on)
    routes = [Route(match=RouteMatch(prefix="/"), route=_action(cluster, traffic, safe))]
    if traffic.retry_attempts and set(traffic.retry_on) != set(safe):
        idempotent = RouteMatch(
            prefix="/",
            headers=[
                HeaderMatcher(
                    name=":method",
                    string_match=StringMatcher(safe_regex=RegexMatcher(regex=IDEMPOTENT_METHODS)),
                )
            ],
        )
        routes.insert(0, Route(match=idempotent, route=_action(cluster, traffic, traffic.retry_on)))
    return resource(
        destination,
        ScopedRouteConfiguration(
            name=destination,
            key=ScopedRouteConfiguration.Key(
                fragments=[ScopedRouteConfiguration.Key.Fragment(string_key=destination)]
            ),
            route_configuration=RouteConfiguration(
                name=route_name,
                virtual_hosts=[
                    VirtualHost(
                        name=route_name,
                        domains=["*"],
                        routes=routes,
                        typed_per_filter_config=request_markers(traffic.access_log),
                    )
                ],
            ),
        ),
    )


def _action(
    cluster: str, traffic: ServiceTraffic, retry_on: tuple[RetryCondition, ...]
) -> RouteAction:
    action = RouteAction(
        cluster=cluster,
        timeout=duration(traffic.request_timeout_seconds),
        retry_policy=retry_policy(traffic, retry_on),
    )
    if traffic.idle_timeout_seconds:
        action.idle_timeout.CopyFrom(duration(traffic.idle_timeout_seconds))
    if traffic.session_affinity.kind is not AffinityKind.NONE:
        action.hash_policy.append(_hash_policy(traffic.session_affinity))
    return action


def _hash_policy(affinity: SessionAffinity) -> RouteAction.HashPolicy:
    policy = RouteAction.HashPolicy
    match affinity.kind:
        case AffinityKind.COOKIE:
            # A life of 0 makes a session cookie, which Envoy hands to clients that have none.
            cookie = policy.Cookie(name=affinity.name, ttl=duration(0), path="/")
            return policy(cookie=cookie)
        case AffinityKind.HEADER:
            return policy(header=policy.Header(header_name=affinity.name))
        case _:
            return policy(connection_properties=policy.ConnectionProperties(source_ip=True))
