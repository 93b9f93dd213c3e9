"""Tells the agent which connections there are: so that a new policy can cut those it refuses.

Each connection of bytes to a pod of this node is told of when it is made, every few seconds while
it lasts, and when it ends (Envoy, "gRPC access log service"), over the socket that configuration
comes by. One of requests is told of while a request on it lasts long.
"""

from __future__ import annotations

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter, LogTypeFilter
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from culvert.compile import filter_state
from culvert.compile.bootstrap import XDS_CLUSTER
from culvert.compile.packing import duration, pack

LOG_NAME = "connections"
REFRESH_SECONDS = 5.0
"""How often a connection that lasts is told of again: an agent that is new learns of it so."""
_FLUSH_SECONDS = 0.1


def live_log() -> AccessLog:
    """The log of a listener for bytes."""
    log = als_pb2.TcpGrpcAccessLogConfig(common_config=_common())
    return AccessLog(name="envoy.access_loggers.tcp_grpc", typed_config=pack(log))


def live_request_log() -> AccessLog:
    """The log of a listener for requests: those that have not ended after a while."""
    log = als_pb2.HttpGrpcAccessLogConfig(common_config=_common())
    lasting = LogTypeFilter(types=[AccessLogType.DownstreamPeriodic])
    return AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=AccessLogFilter(log_type_filter=lasting),
        typed_config=pack(log),
    )


def live_options() -> TcpProxy.TcpAccessLogOptions:
    """When it is written."""
    return TcpProxy.TcpAccessLogOptions(
        flush_access_log_on_connected=True, access_log_flush_interval=duration(REFRESH_SECONDS)
    )


def _common() -> als_pb2.CommonGrpcAccessLogConfig:
    return als_pb2.CommonGrpcAccessLogConfig(
        log_name=LOG_NAME,
        grpc_service=GrpcService(
            envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=XDS_CLUSTER),
        ),
        transport_api_version=ApiVersion.V3,
        buffer_flush_interval=duration(_FLUSH_SECONDS),
        filter_state_objects_to_log=[filter_state.PRINCIPAL, filter_state.SOURCE],
    )
