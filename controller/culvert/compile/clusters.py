"""Clusters: how the proxy connects to endpoints.

A cluster's bytes depend on one Service port, never on endpoints, so that churn of endpoints
leaves its connection pools alone.
"""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster, UpstreamConnectionOptions
from envoy.config.core.v3.address_pb2 import TcpKeepalive
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.wrappers_pb2 import UInt32Value

from culvert.compile.access_log import cluster_metadata
from culvert.compile.http import MAX_HEADERS_KIB, common_options, http1_options, http2_options
from culvert.compile.internal import internal_match
from culvert.compile.limits import circuit_breakers, outlier_detection
from culvert.compile.names import POD_HTTP_CLUSTER, POD_TCP_CLUSTER
from culvert.compile.packing import duration, pack, resource
from culvert.compile.protocol import Protocol
from culvert.compile.traffic import ServiceTraffic
from culvert.model.desired import Resource
from culvert.model.settings import Settings
from culvert.model.traffic import AffinityKind, LoadBalancer

_HTTP_OPTIONS_KEY = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# A prime, as Maglev needs; even for a hundred endpoints, and a quarter of the memory of Envoy's
# default, which every worker pays for every cluster.
_MAGLEV_TABLE_SIZE = 16381
_LB_POLICIES = {
    LoadBalancer.LEAST_REQUEST: Cluster.LEAST_REQUEST,
    LoadBalancer.ROUND_ROBIN: Cluster.ROUND_ROBIN,
    LoadBalancer.RANDOM: Cluster.RANDOM,
}


def compile_service_cluster(
    name: str,
    endpoints: str,
    stat_name: str,
    protocol: Protocol,
    traffic: ServiceTraffic,
    settings: Settings,
) -> Resource:
    """The cluster of a Service port, with its endpoints by EDS under the name ``endpoints``."""
    cluster = _cluster(name, traffic, settings)
    cluster.alt_stat_name = stat_name
    if settings.identity:
        cluster.transport_socket_matches.append(internal_match())
    cluster.type = Cluster.EDS
    cluster.eds_cluster_config.CopyFrom(
        Cluster.EdsClusterConfig(
            eds_config=ConfigSource(
                resource_api_version=ApiVersion.V3, ads=AggregatedConfigSource()
            ),
            service_name=endpoints,
        )
    )
    if traffic.session_affinity.kind is AffinityKind.NONE:
        cluster.lb_policy = _LB_POLICIES[traffic.load_balancer]
    else:
        cluster.lb_policy = Cluster.MAGLEV
        cluster.maglev_lb_config.table_size.value = _MAGLEV_TABLE_SIZE
    if (outliers := outlier_detection(traffic.outlier_detection)) is not None:
        cluster.outlier_detection.CopyFrom(outliers)
    if not protocol.is_http and (metadata := cluster_metadata(traffic.access_log)) is not None:
        cluster.metadata.CopyFrom(metadata)
    if protocol.is_http:
        _set_http_options(cluster, protocol, settings)
    return resource(name, cluster)


def compile_pod_clusters(settings: Settings) -> tuple[Resource, ...]:
    """The two clusters that connect to the original destination itself."""
    return tuple(
        resource(name, original_destination_cluster(name, protocol, settings))
        for name, protocol in (
            (POD_HTTP_CLUSTER, Protocol.HTTP),
            (POD_TCP_CLUSTER, Protocol.TCP),
        )
    )


def original_destination_cluster(name: str, protocol: Protocol, settings: Settings) -> Cluster:
    """A cluster that connects where the connection was going."""
    traffic = ServiceTraffic(connect_timeout_seconds=settings.connect_timeout_seconds)
    cluster = _cluster(name, traffic, settings)
    cluster.type = Cluster.ORIGINAL_DST
    cluster.lb_policy = Cluster.CLUSTER_PROVIDED
    if protocol.is_http:
        _set_http_options(cluster, protocol, settings)
    return cluster


def _cluster(name: str, traffic: ServiceTraffic, settings: Settings) -> Cluster:
    return Cluster(
        name=name,
        connect_timeout=duration(traffic.connect_timeout_seconds),
        per_connection_buffer_limit_bytes=UInt32Value(value=settings.connection_buffer_bytes),
        circuit_breakers=circuit_breakers(traffic),
        upstream_connection_options=UpstreamConnectionOptions(
            tcp_keepalive=TcpKeepalive(
                keepalive_probes=UInt32Value(value=6),
                keepalive_time=UInt32Value(value=60),
                keepalive_interval=UInt32Value(value=15),
            )
        ),
    )


def _set_http_options(cluster: Cluster, protocol: Protocol, settings: Settings) -> None:
    common = common_options(idle_timeout_seconds=settings.upstream_idle_seconds)
    common.max_response_headers_kb.value = MAX_HEADERS_KIB
    options = HttpProtocolOptions(common_http_protocol_options=common)
    if protocol is Protocol.HTTP2:
        options.explicit_http_config.http2_protocol_options.CopyFrom(http2_options())
    else:
        options.use_downstream_protocol_config.http_protocol_options.CopyFrom(http1_options())
        options.use_downstream_protocol_config.http2_protocol_options.CopyFrom(http2_options())
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS_KEY].CopyFrom(pack(options))
