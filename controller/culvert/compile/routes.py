"""Routes of HTTP Service ports: one scope per address and port that clients connect to."""

from __future__ import annotations

from envoy.config.route.v3.route_components_pb2 import (
    RetryPolicy,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from google.protobuf.wrappers_pb2 import UInt32Value

from culvert.compile.names import socket_address_text
from culvert.compile.packing import duration, pack, resource
from culvert.model.desired import Resource

RETRY_ON = "connect-failure,refused-stream,reset-before-request"
"""Only where the endpoint cannot have seen the request, so any method is safe to repeat."""


def compile_scope(
    address: str, port_host: int, route_name: str, cluster: str, client_ip_affinity: bool
) -> Resource:
    """All requests to one destination go to ``cluster``, with no time limit of our own."""
    destination = socket_address_text(address, port_host)
    route = RouteAction(
        cluster=cluster,
        timeout=duration(0),
        retry_policy=RetryPolicy(
            retry_on=RETRY_ON,
            num_retries=UInt32Value(value=2),
            retry_host_predicate=[_not_the_same_host()],
            host_selection_retry_max_attempts=3,
        ),
    )
    if client_ip_affinity:
        route.hash_policy.append(
            RouteAction.HashPolicy(
                connection_properties=RouteAction.HashPolicy.ConnectionProperties(source_ip=True)
            )
        )
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
                        routes=[Route(match=RouteMatch(prefix="/"), route=route)],
                    )
                ],
            ),
        ),
    )


def _not_the_same_host() -> RetryPolicy.RetryHostPredicate:
    return RetryPolicy.RetryHostPredicate(
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=pack(PreviousHostsPredicate()),
    )
