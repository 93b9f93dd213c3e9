"""The last stretch of a connection to a pod of this node: where policies are enforced.

Connections arrive at two internal listeners, from other nodes through the tunnel and from this
node through its own proxy. Whichever way they came, they carry the same: the caller's principal and
address in filter state, and the pod's address and port as their own destination. One listener is
for ports that speak HTTP, one for all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from google.protobuf.wrappers_pb2 import UInt32Value

from culvert.compile import filter_state
from culvert.compile.authorization.assignment import at_port
from culvert.compile.authorization.connections import (
    ALLOW_CHAIN,
    DENY_CHAIN,
    connection_matcher,
)
from culvert.compile.authorization.requests import request_filters, request_rules
from culvert.compile.clusters import original_destination_cluster
from culvert.compile.http_manager import http_filter, http_manager, routes_by_destination
from culvert.compile.internal import INBOUND_HTTP, INBOUND_TCP, internal_cluster
from culvert.compile.listener_filters import original_addresses
from culvert.compile.live_log import REFRESH_SECONDS, live_request_log
from culvert.compile.names import (
    LOCAL_HTTP_CLUSTER,
    LOCAL_TCP_CLUSTER,
    POD_SCOPE_PREFIX,
    socket_address_text,
)
from culvert.compile.packing import duration, resource
from culvert.compile.policy_log import denied_connection_log, request_policy_log
from culvert.compile.protocol import Protocol
from culvert.compile.tcp import refusing_filter, tcp_filter
from culvert.compile.tokens import token_filters
from culvert.model.desired import Resource
from culvert.model.policy import AssignedPolicy
from culvert.model.settings import Settings

INBOUND_HTTP_CLUSTER = "inbound|http"
INBOUND_TCP_CLUSTER = "inbound|tcp"


def compile_inbound(settings: Settings) -> tuple[Resource, ...]:
    """The clusters of the last stretch, and the listener for HTTP."""
    manager = http_manager("inbound_http", POD_SCOPE_PREFIX + "%DOWNSTREAM_LOCAL_ADDRESS%")
    manager.scoped_routes.CopyFrom(routes_by_destination("pods"))
    manager.access_log.extend([*request_policy_log(), live_request_log()])
    manager.access_log_options.access_log_flush_interval.CopyFrom(duration(REFRESH_SECONDS))
    judges = (*token_filters(settings.token_issuers), *request_filters())
    for index, judge in enumerate(judges):
        manager.http_filters.insert(index, judge)
    clusters = (
        internal_cluster(INBOUND_HTTP_CLUSTER, INBOUND_HTTP),
        internal_cluster(INBOUND_TCP_CLUSTER, INBOUND_TCP),
        original_destination_cluster(LOCAL_HTTP_CLUSTER, Protocol.HTTP, settings),
        original_destination_cluster(LOCAL_TCP_CLUSTER, Protocol.TCP, settings),
    )
    # A connection to a pod carries requests of one identity only: what one caller makes of it harms
    # no other, and it can be ended for one of them.
    pool = filter_state.value(
        filter_state.POOL,
        f"%FILTER_STATE({filter_state.PRINCIPAL}:PLAIN)%",
        filter_state.ONCE,
        filter_state.HASHABLE,
    )
    chain = FilterChain(
        name="pods", filters=[filter_state.set_on_connection(pool), http_filter(manager)]
    )
    return (
        *(resource(cluster.name, cluster) for cluster in clusters),
        resource(INBOUND_HTTP, _listener(INBOUND_HTTP, settings, chain)),
    )


def compile_connection_listener(
    settings: Settings, policies: Mapping[str, Sequence[AssignedPolicy]]
) -> Resource:
    """The listener for bytes. ``policies`` are by address of the pod.

    What changes with policies is the matcher alone. Both chains keep their bytes, and with them the
    connections that they have.
    """
    listener = _listener(
        INBOUND_TCP,
        settings,
        FilterChain(
            name=ALLOW_CHAIN,
            filters=[tcp_filter(INBOUND_TCP, LOCAL_TCP_CLUSTER, is_followed=True)],
        ),
        FilterChain(name=DENY_CHAIN, filters=[refusing_filter("denied", denied_connection_log())]),
    )
    listener.filter_chain_matcher.CopyFrom(connection_matcher(policies))
    return resource(INBOUND_TCP, listener)


def compile_request_scopes(
    address: str,
    ports_host: Iterable[int],
    policies: Sequence[AssignedPolicy],
    issuers: Sequence[str] = (),
) -> Iterable[Resource]:
    """The routes of one pod's ports that speak HTTP, with the policies on each.

    ``issuers`` are those of tokens that are verified.
    """
    for port_host in sorted(ports_host):
        destination = POD_SCOPE_PREFIX + socket_address_text(address, port_host)
        yield resource(
            destination,
            ScopedRouteConfiguration(
                name=destination,
                key=ScopedRouteConfiguration.Key(
                    fragments=[ScopedRouteConfiguration.Key.Fragment(string_key=destination)]
                ),
                route_configuration=RouteConfiguration(
                    name=destination,
                    virtual_hosts=[
                        VirtualHost(
                            name=destination,
                            domains=["*"],
                            routes=[
                                Route(
                                    match=RouteMatch(prefix="/"),
                                    route=RouteAction(
                                        cluster=LOCAL_HTTP_CLUSTER, timeout=duration(0)
                                    ),
                                )
                            ],
                            typed_per_filter_config=request_rules(
                                at_port(policies, port_host), issuers
                            ),
                        )
                    ],
                ),
            ),
        )


def _listener(name: str, settings: Settings, *chains: FilterChain) -> Listener:
    """An internal listener that knows where its connections are going."""
    return Listener(
        name=name,
        stat_prefix=name,
        internal_listener=Listener.InternalListenerConfig(),
        traffic_direction=TrafficDirection.INBOUND,
        listener_filters=original_addresses(keeps_client=settings.client_address),
        filter_chains=chains,
        per_connection_buffer_limit_bytes=UInt32Value(value=settings.connection_buffer_bytes),
    )
