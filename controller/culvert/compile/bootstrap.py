"""The bootstrap of a node's Envoy: where it asks for its configuration, and its own limits."""

from __future__ import annotations

from envoy.config.bootstrap.v3.bootstrap_pb2 import Admin, Bootstrap, LayeredRuntime, RuntimeLayer
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, Pipe
from envoy.config.core.v3.backoff_pb2 import BackoffStrategy
from envoy.config.core.v3.base_pb2 import Node, RetryPolicy
from envoy.config.core.v3.config_source_pb2 import (
    AggregatedConfigSource,
    ApiConfigSource,
    ApiVersion,
    ConfigSource,
)
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.endpoint.v3.endpoint_components_pb2 import (
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.metrics.v3.stats_pb2 import StatsConfig, StatsMatcher
from envoy.config.overload.v3.overload_pb2 import (
    OverloadAction,
    OverloadManager,
    ResourceMonitor,
    ThresholdTrigger,
    Trigger,
)
from envoy.extensions.bootstrap.internal_listener.v3.internal_listener_pb2 import InternalListener
from envoy.extensions.resource_monitors.downstream_connections.v3 import (
    downstream_connections_pb2,
)
from envoy.extensions.resource_monitors.fixed_heap.v3.fixed_heap_pb2 import FixedHeapConfig
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import ListStringMatcher, StringMatcher
from google.protobuf import json_format
from google.protobuf.wrappers_pb2 import BoolValue

from culvert.compile.http import http2_options
from culvert.compile.packing import duration, pack

XDS_CLUSTER = "xds"

MAX_HEAP_BYTES = 1024 * 1024 * 1024
MAX_CONNECTIONS = 100_000

_STAT_PREFIXES = (
    "cluster_manager.",
    "control_plane.",
    "http.pod_http.",
    "http.service_http.",
    "listener_manager.",
    "main_thread.",
    "overload.",
    "server.",
    "tcp.pod_tcp.",
    "tcp.service_tcp.",
)
_MESH_STAT_PREFIXES = (
    "cluster.tunnel.ssl.",
    "http.inbound_http.",
    "http.tunnel.",
    "identity.",
    "listener.tunnel.",
    "tcp.denied.",
    "tcp.inbound_tcp.",
    "tcp.pod_local_http.",
    "tcp.pod_local_tcp.",
    "tcp.pod_mesh.",
    "tcp.tunnel_to_pod.",
    "tcp.tunnel_to_service.",
)
_CLUSTER_STATS = (
    r"cluster\..*\.(membership_(healthy|total)"
    r"|upstream_cx_(active|connect_fail|rx_bytes_total|total|tx_bytes_total)"
    r"|upstream_rq_(active|completed|retry|total|[2-5]xx))"
)


def compile_bootstrap(
    node_name: str,
    xds_socket: str,
    admin_socket: str,
    *,
    max_heap_bytes: int = MAX_HEAP_BYTES,
    max_connections: int = MAX_CONNECTIONS,
    identity: bool = False,
) -> Bootstrap:
    """The bootstrap of one node; ``identity`` for a mesh whose pods have certificates.

    Both sockets are absolute paths of Unix sockets; the admin interface, which shows the traffic
    of every pod on the node, has no other address. With ``max_heap_bytes`` nearly used, the proxy
    first gives memory back, then refuses new connections and requests instead of dying.
    """
    by_ads = ConfigSource(resource_api_version=ApiVersion.V3, ads=AggregatedConfigSource())
    bootstrap = Bootstrap(
        node=Node(id=node_name, cluster="culvert"),
        admin=Admin(address=Address(pipe=Pipe(path=admin_socket, mode=0o600))),
        overload_manager=_overload_manager(max_heap_bytes, max_connections),
        stats_config=StatsConfig(
            use_all_default_tags=BoolValue(value=False), stats_matcher=_wanted_stats(identity)
        ),
        layered_runtime=LayeredRuntime(layers=[_runtime_layer()]),
    )
    if identity:
        bootstrap.bootstrap_extensions.append(_internal_listeners())
        bootstrap.layered_runtime.layers.insert(0, _tunnel_layer())
    bootstrap.static_resources.clusters.append(_xds_cluster(xds_socket))
    dynamic = bootstrap.dynamic_resources
    dynamic.cds_config.CopyFrom(by_ads)
    dynamic.lds_config.CopyFrom(by_ads)
    dynamic.ads_config.CopyFrom(
        ApiConfigSource(
            api_type=ApiConfigSource.DELTA_GRPC,
            transport_api_version=ApiVersion.V3,
            grpc_services=[GrpcService(envoy_grpc=_xds_service())],
        )
    )
    return bootstrap


def bootstrap_json(bootstrap: Bootstrap) -> str:
    """A bootstrap in the JSON form that Envoy reads; equal ones give equal text."""
    return json_format.MessageToJson(
        bootstrap, preserving_proto_field_name=True, indent=2, sort_keys=True
    )


def _xds_service() -> GrpcService.EnvoyGrpc:
    """A proxy that is up before its agent, or outlives it, connects again within a second."""
    back_off = BackoffStrategy(base_interval=duration(0.1), max_interval=duration(1))
    return GrpcService.EnvoyGrpc(
        cluster_name=XDS_CLUSTER, retry_policy=RetryPolicy(retry_back_off=back_off)
    )


def _xds_cluster(socket_path: str) -> Cluster:
    options = HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.CopyFrom(http2_options())
    # A dead agent is noticed and its successor connected to.
    keepalive = options.explicit_http_config.http2_protocol_options.connection_keepalive
    keepalive.interval.CopyFrom(duration(30))
    keepalive.timeout.CopyFrom(duration(10))
    cluster = Cluster(
        name=XDS_CLUSTER,
        type=Cluster.STATIC,
        connect_timeout=duration(1),
        load_assignment=ClusterLoadAssignment(
            cluster_name=XDS_CLUSTER,
            endpoints=[
                LocalityLbEndpoints(
                    lb_endpoints=[
                        LbEndpoint(endpoint=Endpoint(address=Address(pipe=Pipe(path=socket_path))))
                    ]
                )
            ],
        ),
    )
    key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    cluster.typed_extension_protocol_options[key].CopyFrom(pack(options))
    return cluster


def _overload_manager(max_heap_bytes: int, max_connections: int) -> OverloadManager:
    heap = "envoy.resource_monitors.fixed_heap"

    def at(action: str, fraction: float) -> OverloadAction:
        trigger = Trigger(name=heap, threshold=ThresholdTrigger(value=fraction))
        return OverloadAction(name=f"envoy.overload_actions.{action}", triggers=[trigger])

    return OverloadManager(
        refresh_interval=duration(0.25),
        resource_monitors=[
            ResourceMonitor(
                name=heap, typed_config=pack(FixedHeapConfig(max_heap_size_bytes=max_heap_bytes))
            ),
            ResourceMonitor(
                name="envoy.resource_monitors.global_downstream_max_connections",
                typed_config=pack(
                    downstream_connections_pb2.DownstreamConnectionsConfig(
                        max_active_downstream_connections=max_connections
                    )
                ),
            ),
        ],
        actions=[
            at("shrink_heap", 0.85),
            at("stop_accepting_requests", 0.95),
            at("stop_accepting_connections", 0.98),
        ],
    )


def _wanted_stats(identity: bool) -> StatsMatcher:
    """Few: every counter costs memory per cluster, and clusters come by the thousand."""
    prefixes = (*_STAT_PREFIXES, *(_MESH_STAT_PREFIXES if identity else ()))
    patterns = [StringMatcher(prefix=prefix) for prefix in prefixes]
    patterns.append(StringMatcher(safe_regex=RegexMatcher(regex=_CLUSTER_STATS)))
    return StatsMatcher(inclusion_list=ListStringMatcher(patterns=patterns))


def _internal_listeners() -> TypedExtensionConfig:
    """Connections from the proxy to itself."""
    return TypedExtensionConfig(
        name="envoy.bootstrap.internal_listener", typed_config=pack(InternalListener())
    )


def _tunnel_layer() -> RuntimeLayer:
    """How the end of a connection comes out of a tunnel.

    Envoy 1.40 ends a CONNECT stream whose server closed first with END_STREAM and a reset that is
    no error, and takes that reset for one of the server's: the client gets a reset in the place of
    the last bytes (envoyproxy/envoy#44150, #45267). Without the mapping it gets all of them.
    """
    layer = RuntimeLayer(name="tunnel")
    layer.static_layer.update(
        {"envoy.reloadable_features.propagate_upstream_rst_through_tunneled_tcp_proxy": False}
    )
    return layer


def _runtime_layer() -> RuntimeLayer:
    """Runtime settings that can be changed through the admin socket, for diagnosis."""
    return RuntimeLayer(name="admin", admin_layer=RuntimeLayer.AdminLayer())
