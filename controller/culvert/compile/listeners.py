"""The proxy's four listeners. They depend on the settings alone, so no change in the cluster
touches them and no connection is drained for one.

Which listener takes a connection is decided in the kernel (``ProxyListener``). Each restores the
original destination (Envoy's ``original_dst`` listener filter) and has one filter chain for all:

- SERVICE_TCP names its cluster after the destination: ``tcp|10.96.0.10:5432``. There is no
  cluster of that name for anything but a Service port, so other connections are closed.
- SERVICE_HTTP writes the destination into a header, which picks the Service's routes ("scoped
  routes" in Envoy's documentation). The client's own header of that name is overwritten.
- POD_HTTP and POD_TCP go to the destination itself.

A second chain closes connections whose destination is the proxy. Where connection tracking is in
use, the kernel names the proxy as the original destination of a connection made to it, and POD_TCP
would then connect to itself until it has no file descriptors left.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.core.v3.base_pb2 import (
    TrafficDirection,
)
from envoy.config.listener.v3.listener_components_pb2 import (
    Filter,
    FilterChain,
    FilterChainMatch,
)
from envoy.config.listener.v3.listener_pb2 import AdditionalAddress, Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from google.protobuf.wrappers_pb2 import UInt32Value

from culvert.compile import filter_state
from culvert.compile.access_log import connection_log, marker_filters, request_log
from culvert.compile.http_manager import http_filter, http_manager, routes_by_destination
from culvert.compile.identities import identity_filters
from culvert.compile.inbound import INBOUND_HTTP_CLUSTER, INBOUND_TCP_CLUSTER
from culvert.compile.listener_filters import original_addresses
from culvert.compile.names import (
    POD_HTTP_CLUSTER,
    POD_TCP_CLUSTER,
    TCP_CLUSTER_PREFIX,
    TUNNEL_CLUSTER_PREFIX,
)
from culvert.compile.packing import duration, resource
from culvert.compile.sockets import KEEPALIVE, socket_address
from culvert.compile.tcp import NO_CLUSTER, tcp_filter
from culvert.model.desired import Resource
from culvert.model.redirect import ProxyListener
from culvert.model.settings import Settings

_LISTENER_NAMES = {
    ProxyListener.SERVICE_HTTP: "service_http",
    ProxyListener.SERVICE_TCP: "service_tcp",
    ProxyListener.POD_HTTP: "pod_http",
    ProxyListener.POD_TCP: "pod_tcp",
    ProxyListener.POD_MESH: "pod_mesh",
    ProxyListener.POD_LOCAL_TCP: "pod_local_tcp",
    ProxyListener.POD_LOCAL_HTTP: "pod_local_http",
}

ACCEPT_BACKLOG = 4096


def compile_listeners(settings: Settings) -> tuple[Resource, ...]:
    """The listeners for captured connections; none where the proxy has no address.

    With identities three more, for pod addresses, and in each what finds out who calls.
    """
    if not settings.proxy_addresses:
        return ()
    filters = _plain_filters(is_followed=settings.identity)
    if settings.identity:
        filters |= _mesh_filters()
        filters = {listener: (*identity_filters(), *chain) for listener, chain in filters.items()}
    return tuple(
        resource(_LISTENER_NAMES[listener], _listener(listener, settings, chain))
        for listener, chain in filters.items()
    )


def _plain_filters(*, is_followed: bool) -> dict[ProxyListener, tuple[Filter, ...]]:
    by_destination = filter_state.value(
        filter_state.TCP_CLUSTER, TCP_CLUSTER_PREFIX + "%DOWNSTREAM_LOCAL_ADDRESS%"
    )
    return {
        ProxyListener.SERVICE_HTTP: (http_filter(_service_http_manager()),),
        ProxyListener.SERVICE_TCP: (
            filter_state.set_on_connection(by_destination),
            tcp_filter("service_tcp", NO_CLUSTER, connection_log(), is_followed=is_followed),
        ),
        ProxyListener.POD_HTTP: (http_filter(_pod_http_manager()),),
        ProxyListener.POD_TCP: (tcp_filter("pod_tcp", POD_TCP_CLUSTER, is_followed=is_followed),),
    }


def _mesh_filters() -> dict[ProxyListener, tuple[Filter, ...]]:
    value = filter_state.value
    destination = value(
        filter_state.DESTINATION,
        "%DOWNSTREAM_LOCAL_ADDRESS%",
        filter_state.ONCE,
        filter_state.HASHABLE,
    )
    by_pod = value(
        filter_state.TCP_CLUSTER,
        TUNNEL_CLUSTER_PREFIX + "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
    )
    local = value(filter_state.LOCAL_ADDRESS, "%DOWNSTREAM_LOCAL_ADDRESS%", filter_state.ONCE)
    return {
        ProxyListener.POD_MESH: (
            filter_state.set_on_connection(destination, by_pod),
            tcp_filter("pod_mesh", NO_CLUSTER, on_demand=True),
        ),
        ProxyListener.POD_LOCAL_TCP: (
            filter_state.set_on_connection(local),
            tcp_filter("pod_local_tcp", INBOUND_TCP_CLUSTER),
        ),
        ProxyListener.POD_LOCAL_HTTP: (
            filter_state.set_on_connection(local),
            tcp_filter("pod_local_http", INBOUND_HTTP_CLUSTER),
        ),
    }


def _listener(listener: ProxyListener, settings: Settings, filters: Sequence[Filter]) -> Listener:
    port_host = settings.listener_ports.of(listener)
    first, *others = (socket_address(address, port_host) for address in settings.proxy_addresses)
    return Listener(
        name=_LISTENER_NAMES[listener],
        stat_prefix=_LISTENER_NAMES[listener],
        address=first,
        additional_addresses=[AdditionalAddress(address=address) for address in others],
        traffic_direction=TrafficDirection.OUTBOUND,
        listener_filters=original_addresses(
            keeps_client=settings.client_address and _connects_to_pods(listener, settings)
        ),
        filter_chains=[
            FilterChain(
                name="itself",
                filter_chain_match=FilterChainMatch(
                    prefix_ranges=[_host_range(address) for address in settings.proxy_addresses]
                ),
                filters=[tcp_filter("itself", NO_CLUSTER)],
            ),
            FilterChain(name="all", filters=filters),
        ],
        per_connection_buffer_limit_bytes=UInt32Value(value=settings.connection_buffer_bytes),
        tcp_backlog_size=UInt32Value(value=ACCEPT_BACKLOG),
        socket_options=KEEPALIVE,
    )


def _connects_to_pods(listener: ProxyListener, settings: Settings) -> bool:
    """Whether its connections may go to a pod of this node with no hop in between.

    Those for HTTP are left out where pools do not know their clients anyway, as they do with
    identities: each client would have connections of its own to every endpoint of the cluster.
    """
    for_bytes = {ProxyListener.SERVICE_TCP, ProxyListener.POD_TCP}
    for_requests = {ProxyListener.SERVICE_HTTP, ProxyListener.POD_HTTP}
    return listener in (for_bytes | for_requests if settings.identity else for_bytes)


def _host_range(address: str) -> CidrRange:
    bits = 128 if ":" in address else 32
    return CidrRange(address_prefix=address, prefix_len=UInt32Value(value=bits))


def _service_http_manager() -> manager_pb2.HttpConnectionManager:
    manager = http_manager("service_http")
    manager.access_log.extend(request_log())
    # First, so that what a later filter refuses is marked as well.
    for index, marker in enumerate(marker_filters()):
        manager.http_filters.insert(index, marker)
    manager.scoped_routes.CopyFrom(routes_by_destination("services"))
    return manager


def _pod_http_manager() -> manager_pb2.HttpConnectionManager:
    manager = http_manager("pod_http")
    manager.route_config.CopyFrom(
        RouteConfiguration(
            name="pods",
            virtual_hosts=[
                VirtualHost(
                    name="pods",
                    domains=["*"],
                    routes=[
                        Route(
                            match=RouteMatch(prefix="/"),
                            route=RouteAction(cluster=POD_HTTP_CLUSTER, timeout=duration(0)),
                        )
                    ],
                )
            ],
        )
    )
    return manager
