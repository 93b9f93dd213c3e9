"""Traffic between nodes: HTTP/2 CONNECT in mutual TLS, one stream for each connection.

On the caller's node a connection comes to one of two internal listeners, which give it its stream:
for an endpoint of a Service, or for a pod that was asked for by address. Streams of one caller's
identity to one identity on one node share a TLS connection; no others do. On the pod's node the
authority must be the address of a pod that has the very identity that this end presented.

The layout is that of HBONE (Istio's "HTTP-Based Overlay Network Environment"), but to the node's
address instead of the pod's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import (
    HeaderValue,
    HeaderValueOption,
    TrafficDirection,
)
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import AdditionalAddress, Listener
from envoy.config.route.v3.route_components_pb2 import (
    HeaderMatcher,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2 import (
    Config as HttpSetFilterState,
)
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from culvert.compile import filter_state
from culvert.compile.http_manager import early_headers, http_filter, overwrite
from culvert.compile.inbound import INBOUND_HTTP_CLUSTER, INBOUND_TCP_CLUSTER
from culvert.compile.internal import (
    TUNNEL_METADATA,
    TUNNEL_TO_POD,
    TUNNEL_TO_SERVICE,
    internal_cluster_of,
    tunnel_endpoint,
)
from culvert.compile.names import TUNNEL_CLUSTER, TUNNEL_CLUSTER_PREFIX, socket_address_text
from culvert.compile.packing import duration, pack, resource
from culvert.compile.policy_log import denied_stream_log
from culvert.compile.sockets import KEEPALIVE, socket_address
from culvert.compile.tcp import tcp_filter
from culvert.compile.tls import downstream_tls, server_name_of, upstream_tls
from culvert.model.desired import Resource
from culvert.model.settings import Settings

TUNNEL_LISTENER = "tunnel"
PODS_ROUTES = "tunnel_pods"

SOURCE_HEADER = "x-culvert-source"
"""The caller's address, as the caller's node says; between nodes only."""
PRINCIPAL_HEADER = "x-culvert-presented"
"""Inside the listener: the identity that this end of the connection presented."""

_IS_IPV6 = f"request.headers['{SOURCE_HEADER}'].contains(':')"
_SOURCE_WITH_PORT = (
    f"%CEL({_IS_IPV6} ? '[' : '')%%REQ({SOURCE_HEADER})%%CEL({_IS_IPV6} ? ']' : '')%:0"
)
"""A format string; Envoy's CEL cannot put strings together."""

STREAM_WINDOW_BYTES = 1024 * 1024
CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
MAX_STREAMS = 1000
_IDLE_SECONDS = 300.0
_KEEPALIVE_INTERVAL_SECONDS = 30.0
_KEEPALIVE_TIMEOUT_SECONDS = 10.0
_HANDSHAKE_SECONDS = 10.0
_MAX_REQUESTS = 1 << 30
_AUTHORITY = r"(\[[^\]]*\]|[^:]*):[1-9][0-9]{0,4}"
_HTTP_OPTIONS_KEY = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True, slots=True, order=True)
class LocalPod:
    """A pod that others reach through this node's tunnel.

    ``http_ports`` are those at which requests, not connections, are judged.
    """

    address: str
    principal: str
    http_ports: frozenset[int] = frozenset()


def compile_tunnel(settings: Settings, node_addresses: Iterable[str]) -> tuple[Resource, ...]:
    """Both ends of the tunnels of one node; the accepting one only where it has an address."""
    cluster = _tunnel_cluster(settings)
    resources = [
        resource(TUNNEL_CLUSTER, cluster),
        *(
            resource(name, _originating_listener(name, destination, settings))
            for name, destination in (
                (TUNNEL_TO_SERVICE, f"%DYNAMIC_METADATA({TUNNEL_METADATA}:destination)%"),
                (TUNNEL_TO_POD, f"%FILTER_STATE({filter_state.DESTINATION}:PLAIN)%"),
            )
        ),
    ]
    addresses = tuple(node_addresses)
    if addresses:
        resources.append(resource(TUNNEL_LISTENER, _accepting_listener(settings, addresses)))
    return tuple(resources)


def pod_cluster(address: str, tunnel: str, principals: Sequence[str]) -> Resource:
    """The cluster of another node's pod, whatever its port; it may have any of the principals."""
    name = TUNNEL_CLUSTER_PREFIX + address
    endpoint = tunnel_endpoint(address, 0, tunnel, principals, server_name_of(principals[0]))
    return resource(name, internal_cluster_of(name, endpoint))


def compile_pod_routes(pods: Iterable[LocalPod]) -> Resource:
    """Which authorities this node accepts, and from whom: its own pods as themselves.

    Each pod answers under its own identity alone: a stream in a connection for which this end
    presented another one has no route.
    """
    return resource(
        PODS_ROUTES,
        RouteConfiguration(
            name=PODS_ROUTES,
            virtual_hosts=[host for pod in sorted(pods) for host in _virtual_hosts(pod)],
            ignore_port_in_host_matching=False,
        ),
    )


def _virtual_hosts(pod: LocalPod) -> list[VirtualHost]:
    bracketed = f"[{pod.address}]" if ":" in pod.address else pod.address
    hosts = [_virtual_host(pod, bracketed, [f"{bracketed}:*"], INBOUND_TCP_CLUSTER)]
    if pod.http_ports:
        exact = [socket_address_text(pod.address, port) for port in sorted(pod.http_ports)]
        hosts.append(_virtual_host(pod, f"{bracketed} http", exact, INBOUND_HTTP_CLUSTER))
    return hosts


def _virtual_host(pod: LocalPod, name: str, domains: list[str], cluster: str) -> VirtualHost:
    connect = RouteAction.UpgradeConfig(
        upgrade_type="CONNECT", connect_config=RouteAction.UpgradeConfig.ConnectConfig()
    )
    presented = HeaderMatcher(
        name=PRINCIPAL_HEADER, string_match=StringMatcher(exact=pod.principal)
    )
    # A port has one spelling: with a zero in front it would pass by the hosts for HTTP.
    spelled = HeaderMatcher(
        name=":authority",
        string_match=StringMatcher(safe_regex=RegexMatcher(regex=_AUTHORITY)),
    )
    return VirtualHost(
        name=name,
        domains=domains,
        routes=[
            Route(
                match=RouteMatch(
                    connect_matcher=RouteMatch.ConnectMatcher(), headers=[presented, spelled]
                ),
                route=RouteAction(cluster=cluster, timeout=duration(0), upgrade_configs=[connect]),
            )
        ],
    )


def _tunnel_cluster(settings: Settings) -> Cluster:
    options = HttpProtocolOptions()
    common = options.common_http_protocol_options
    common.idle_timeout.CopyFrom(duration(_IDLE_SECONDS))
    # Envoy looks at certificates in the handshake alone. Streams that are open stay to their end.
    common.max_connection_duration.CopyFrom(duration(settings.tunnel_connection_seconds))
    options.explicit_http_config.http2_protocol_options.CopyFrom(_http2())
    cluster = Cluster(
        name=TUNNEL_CLUSTER,
        type=Cluster.ORIGINAL_DST,
        lb_policy=Cluster.CLUSTER_PROVIDED,
        cleanup_interval=duration(_IDLE_SECONDS),
        connect_timeout=duration(settings.connect_timeout_seconds),
        per_connection_buffer_limit_bytes=UInt32Value(value=STREAM_WINDOW_BYTES),
        transport_socket=upstream_tls(settings.trust_domains),
    )
    thresholds = cluster.circuit_breakers.thresholds.add()
    for limit in ("max_connections", "max_pending_requests", "max_requests", "max_retries"):
        getattr(thresholds, limit).value = _MAX_REQUESTS
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS_KEY].CopyFrom(pack(options))
    return cluster


def _http2() -> Http2ProtocolOptions:
    options = Http2ProtocolOptions(
        allow_connect=True,
        max_concurrent_streams=UInt32Value(value=MAX_STREAMS),
        initial_stream_window_size=UInt32Value(value=STREAM_WINDOW_BYTES),
        initial_connection_window_size=UInt32Value(value=CONNECTION_WINDOW_BYTES),
    )
    options.connection_keepalive.interval.CopyFrom(duration(_KEEPALIVE_INTERVAL_SECONDS))
    options.connection_keepalive.timeout.CopyFrom(duration(_KEEPALIVE_TIMEOUT_SECONDS))
    return options


def _originating_listener(name: str, destination: str, settings: Settings) -> Listener:
    """Puts each connection into a stream to ``destination``, a format string."""
    value, metadata = filter_state.value, f"%DYNAMIC_METADATA({TUNNEL_METADATA}:"
    where = filter_state.set_on_connection(
        value(filter_state.TUNNEL_ADDRESS, f"{metadata}node)%", filter_state.ONCE),
        value(filter_state.SUBJECT_ALT_NAMES, f"{metadata}principal)%", filter_state.ONCE),
        value(filter_state.SERVER_NAME, f"{metadata}server_name)%", filter_state.ONCE),
    )
    source = HeaderValueOption(
        header=HeaderValue(key=SOURCE_HEADER, value=f"%FILTER_STATE({filter_state.SOURCE}:PLAIN)%"),
        append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    tunneling = TcpProxy.TunnelingConfig(hostname=destination, headers_to_add=[source])
    return Listener(
        name=name,
        stat_prefix=name,
        internal_listener=Listener.InternalListenerConfig(),
        traffic_direction=TrafficDirection.OUTBOUND,
        filter_chains=[
            FilterChain(
                name="all", filters=[where, tcp_filter(name, TUNNEL_CLUSTER, tunneling=tunneling)]
            )
        ],
        per_connection_buffer_limit_bytes=UInt32Value(value=settings.connection_buffer_bytes),
    )


def _accepting_listener(settings: Settings, node_addresses: tuple[str, ...]) -> Listener:
    first, *others = (socket_address(address, settings.tunnel_port) for address in node_addresses)
    chain = FilterChain(
        name="all",
        transport_socket=downstream_tls(settings.trust_domains),
        transport_socket_connect_timeout=duration(_HANDSHAKE_SECONDS),
        filters=[http_filter(_manager())],
    )
    return Listener(
        name=TUNNEL_LISTENER,
        stat_prefix=TUNNEL_LISTENER,
        address=first,
        additional_addresses=[AdditionalAddress(address=address) for address in others],
        traffic_direction=TrafficDirection.INBOUND,
        filter_chains=[chain],
        per_connection_buffer_limit_bytes=UInt32Value(value=STREAM_WINDOW_BYTES),
        socket_options=KEEPALIVE,
    )


def _manager() -> manager_pb2.HttpConnectionManager:
    value = filter_state.value
    arrival: Mapping[str, tuple[str, str]] = {
        filter_state.LOCAL_ADDRESS: ("%REQ(:AUTHORITY)%", ""),
        filter_state.REMOTE_ADDRESS: (_SOURCE_WITH_PORT, ""),
        filter_state.PRINCIPAL: ("%DOWNSTREAM_PEER_URI_SAN%", filter_state.HASHABLE),
        filter_state.SOURCE: (f"%REQ({SOURCE_HEADER})%", filter_state.HASHABLE),
        filter_state.SOURCE_IP: (f"%REQ({SOURCE_HEADER})%", filter_state.IP),
    }
    arrived = HttpSetFilterState(
        on_request_headers=[
            value(key, text, filter_state.ONCE, factory) for key, (text, factory) in arrival.items()
        ]
    )
    by_ads = ConfigSource(resource_api_version=ApiVersion.V3, ads=AggregatedConfigSource())
    return manager_pb2.HttpConnectionManager(
        stat_prefix=TUNNEL_LISTENER,
        codec_type=manager_pb2.HttpConnectionManager.HTTP2,
        http2_protocol_options=_http2(),
        stream_idle_timeout=duration(0),
        request_timeout=duration(0),
        use_remote_address=BoolValue(value=False),
        skip_xff_append=True,
        generate_request_id=BoolValue(value=False),
        upgrade_configs=[manager_pb2.HttpConnectionManager.UpgradeConfig(upgrade_type="CONNECT")],
        early_header_mutation_extensions=[
            early_headers(overwrite(PRINCIPAL_HEADER, "%DOWNSTREAM_LOCAL_URI_SAN%"))
        ],
        rds=manager_pb2.Rds(config_source=by_ads, route_config_name=PODS_ROUTES),
        access_log=denied_stream_log(),
        http_filters=[
            manager_pb2.HttpFilter(
                name="envoy.filters.http.set_filter_state", typed_config=pack(arrived)
            ),
            manager_pb2.HttpFilter(
                name="envoy.filters.http.router",
                typed_config=pack(Router(suppress_envoy_headers=True)),
            ),
        ],
    )
