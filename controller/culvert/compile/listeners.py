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

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation
from envoy.config.core.v3.address_pb2 import Address, CidrRange, SocketAddress
from envoy.config.core.v3.base_pb2 import (
    DataSource,
    HeaderValue,
    HeaderValueOption,
    TrafficDirection,
)
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.socket_option_pb2 import SocketOption
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.listener.v3.listener_components_pb2 import (
    Filter,
    FilterChain,
    FilterChainMatch,
    ListenerFilter,
)
from envoy.config.listener.v3.listener_pb2 import AdditionalAddress, Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation as HeaderMutationFilter,
)
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import Mutations
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.extensions.filters.network.set_filter_state.v3.set_filter_state_pb2 import (
    Config as SetFilterState,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation as EarlyHeaderMutation,
)
from envoy.type.v3.hash_policy_pb2 import HashPolicy
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from culvert.compile.access_log import connection_log, marker_filters, request_log
from culvert.compile.http import (
    DESTINATION_HEADER,
    MAX_HEADERS_KIB,
    SAVED_FORWARDED_PROTO_HEADER,
    common_options,
    http1_options,
    http2_options,
)
from culvert.compile.names import POD_HTTP_CLUSTER, POD_TCP_CLUSTER, TCP_CLUSTER_PREFIX
from culvert.compile.packing import duration, pack, resource
from culvert.model.desired import Resource
from culvert.model.redirect import ProxyListener
from culvert.model.settings import Settings

_LISTENER_NAMES = {
    ProxyListener.SERVICE_HTTP: "service_http",
    ProxyListener.SERVICE_TCP: "service_tcp",
    ProxyListener.POD_HTTP: "pod_http",
    ProxyListener.POD_TCP: "pod_tcp",
}

ACCEPT_BACKLOG = 4096

_NO_CLUSTER = "none"
"""Envoy wants a cluster beside the one that filter state names; there is none of this name."""

# Linux socket options, inherited by accepted sockets: a client that vanishes is noticed after
# about two and a half minutes. Envoy has no keepalive field for listeners.
_SOL_SOCKET, _SO_KEEPALIVE = 1, 9
_IPPROTO_TCP, _TCP_KEEPIDLE, _TCP_KEEPINTVL, _TCP_KEEPCNT = 6, 4, 5, 6
_KEEPALIVE = (
    (_SOL_SOCKET, _SO_KEEPALIVE, 1),
    (_IPPROTO_TCP, _TCP_KEEPIDLE, 60),
    (_IPPROTO_TCP, _TCP_KEEPINTVL, 15),
    (_IPPROTO_TCP, _TCP_KEEPCNT, 6),
)


def compile_listeners(settings: Settings) -> tuple[Resource, ...]:
    """All four listeners; none where the proxy has no address."""
    if not settings.proxy_addresses:
        return ()
    filters = {
        ProxyListener.SERVICE_HTTP: (_http_filter(_service_http_manager()),),
        ProxyListener.SERVICE_TCP: (
            _cluster_by_destination(),
            _tcp_filter("service_tcp", _NO_CLUSTER, connection_log()),
        ),
        ProxyListener.POD_HTTP: (_http_filter(_pod_http_manager()),),
        ProxyListener.POD_TCP: (_tcp_filter("pod_tcp", POD_TCP_CLUSTER),),
    }
    return tuple(
        resource(_LISTENER_NAMES[listener], _listener(listener, settings, chain))
        for listener, chain in filters.items()
    )


def _listener(listener: ProxyListener, settings: Settings, filters: Sequence[Filter]) -> Listener:
    first, *others = (
        Address(
            socket_address=SocketAddress(
                address=address, port_value=settings.listener_ports.of(listener)
            )
        )
        for address in settings.proxy_addresses
    )
    return Listener(
        name=_LISTENER_NAMES[listener],
        stat_prefix=_LISTENER_NAMES[listener],
        address=first,
        additional_addresses=[AdditionalAddress(address=address) for address in others],
        traffic_direction=TrafficDirection.OUTBOUND,
        listener_filters=[
            ListenerFilter(
                name="envoy.filters.listener.original_dst", typed_config=pack(OriginalDst())
            )
        ],
        filter_chains=[
            FilterChain(
                name="itself",
                filter_chain_match=FilterChainMatch(
                    prefix_ranges=[_host_range(address) for address in settings.proxy_addresses]
                ),
                filters=[_tcp_filter("itself", _NO_CLUSTER)],
            ),
            FilterChain(name="all", filters=filters),
        ],
        per_connection_buffer_limit_bytes=UInt32Value(value=settings.connection_buffer_bytes),
        tcp_backlog_size=UInt32Value(value=ACCEPT_BACKLOG),
        socket_options=[
            SocketOption(level=level, name=name, int_value=value, state=SocketOption.STATE_PREBIND)
            for level, name, value in _KEEPALIVE
        ],
    )


def _host_range(address: str) -> CidrRange:
    bits = 128 if ":" in address else 32
    return CidrRange(address_prefix=address, prefix_len=UInt32Value(value=bits))


def _cluster_by_destination() -> Filter:
    return Filter(
        name="envoy.filters.network.set_filter_state",
        typed_config=pack(
            SetFilterState(
                on_new_connection=[
                    FilterStateValue(
                        object_key="envoy.tcp_proxy.cluster",
                        format_string=SubstitutionFormatString(
                            text_format_source=DataSource(
                                inline_string=TCP_CLUSTER_PREFIX + "%DOWNSTREAM_LOCAL_ADDRESS%"
                            )
                        ),
                    )
                ]
            )
        ),
    )


def _tcp_filter(stat_prefix: str, cluster: str, access_log: Sequence[AccessLog] = ()) -> Filter:
    return Filter(
        name="envoy.filters.network.tcp_proxy",
        typed_config=pack(
            TcpProxy(
                stat_prefix=stat_prefix,
                cluster=cluster,
                # Without the mesh nothing would cut an idle connection either.
                idle_timeout=duration(0),
                max_connect_attempts=UInt32Value(value=3),
                # Read only by clusters that hash, those with affinity to the client's address.
                hash_policy=[HashPolicy(source_ip=HashPolicy.SourceIp())],
                access_log=access_log,
            )
        ),
    )


def _http_filter(manager: manager_pb2.HttpConnectionManager) -> Filter:
    return Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager))


def _service_http_manager() -> manager_pb2.HttpConnectionManager:
    by_ads = ConfigSource(resource_api_version=ApiVersion.V3, ads=AggregatedConfigSource())
    key_builder = manager_pb2.ScopedRoutes.ScopeKeyBuilder
    whole_header = key_builder.FragmentBuilder.HeaderValueExtractor(
        name=DESTINATION_HEADER, index=0
    )
    manager = _http_manager("service_http")
    manager.access_log.extend(request_log())
    # First, so that what a later filter refuses is marked as well.
    for index, marker in enumerate(marker_filters()):
        manager.http_filters.insert(index, marker)
    manager.scoped_routes.CopyFrom(
        manager_pb2.ScopedRoutes(
            name="services",
            scope_key_builder=key_builder(
                fragments=[key_builder.FragmentBuilder(header_value_extractor=whole_header)]
            ),
            # Every scope carries its routes inline; Envoy asks for both sources all the same.
            rds_config_source=by_ads,
            scoped_rds=manager_pb2.ScopedRds(scoped_rds_config_source=by_ads),
        )
    )
    return manager


def _pod_http_manager() -> manager_pb2.HttpConnectionManager:
    manager = _http_manager("pod_http")
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


def _http_manager(stat_prefix: str) -> manager_pb2.HttpConnectionManager:
    return manager_pb2.HttpConnectionManager(
        stat_prefix=stat_prefix,
        codec_type=manager_pb2.HttpConnectionManager.AUTO,
        common_http_protocol_options=common_options(idle_timeout_seconds=0),
        http_protocol_options=http1_options(),
        http2_protocol_options=http2_options(),
        max_request_headers_kb=UInt32Value(value=MAX_HEADERS_KIB),
        stream_idle_timeout=duration(0),
        request_timeout=duration(0),
        use_remote_address=BoolValue(value=False),
        skip_xff_append=True,
        # Envoy marks requests of "internal" addresses with a header; no address is.
        internal_address_config=manager_pb2.HttpConnectionManager.InternalAddressConfig(
            cidr_ranges=[
                CidrRange(address_prefix="255.255.255.255", prefix_len=UInt32Value(value=32))
            ]
        ),
        generate_request_id=BoolValue(value=False),
        preserve_external_request_id=True,
        server_header_transformation=manager_pb2.HttpConnectionManager.PASS_THROUGH,
        proxy_100_continue=True,
        normalize_path=BoolValue(value=False),
        merge_slashes=False,
        path_with_escaped_slashes_action=manager_pb2.HttpConnectionManager.KEEP_UNCHANGED,
        upgrade_configs=[manager_pb2.HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
        early_header_mutation_extensions=[
            TypedExtensionConfig(
                name="destination",
                typed_config=pack(
                    EarlyHeaderMutation(
                        mutations=[
                            _overwrite(DESTINATION_HEADER, "%DOWNSTREAM_LOCAL_ADDRESS%"),
                            HeaderMutation(remove=SAVED_FORWARDED_PROTO_HEADER),
                            _overwrite(SAVED_FORWARDED_PROTO_HEADER, "%REQ(x-forwarded-proto)%"),
                        ]
                    )
                ),
            )
        ],
        http_filters=[
            manager_pb2.HttpFilter(
                name="envoy.filters.http.header_mutation",
                typed_config=pack(
                    HeaderMutationFilter(
                        mutations=Mutations(
                            request_mutations=[
                                HeaderMutation(remove="x-forwarded-proto"),
                                _overwrite(
                                    "x-forwarded-proto", f"%REQ({SAVED_FORWARDED_PROTO_HEADER})%"
                                ),
                                HeaderMutation(remove=SAVED_FORWARDED_PROTO_HEADER),
                                HeaderMutation(remove=DESTINATION_HEADER),
                            ]
                        )
                    )
                ),
            ),
            manager_pb2.HttpFilter(
                name="envoy.filters.http.router",
                typed_config=pack(Router(suppress_envoy_headers=True)),
            ),
        ],
    )


def _overwrite(header: str, value: str) -> HeaderMutation:
    return HeaderMutation(
        append=HeaderValueOption(
            header=HeaderValue(key=header, value=value),
            append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
    )
