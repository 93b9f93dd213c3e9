"""The proxy's access log: one JSON line on its standard output for what a Service asks for.

Listeners are the same for all Services, so they hold both levels, and what belongs to the Service
picks one. HTTP: two filters that mark a request are in the listener, disabled; a Service's routes
enable one. TCP: the cluster carries the level in its metadata. Neither costs anything where no log
is asked for, but one look at the metadata when a request or connection ends.

No header is logged but those named here, and paths go without their query, which may hold secrets.
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLog as AccessLogMessage,
)
from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ExtensionFilter,
    GrpcStatusFilter,
    HeaderFilter,
    MetadataFilter,
    OrFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy.config.core.v3.base_pb2 import Metadata, RuntimeUInt32
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.route.v3.route_components_pb2 import FilterConfig, HeaderMatcher
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog
from envoy.extensions.filters.http.set_metadata.v3.set_metadata_pb2 import Config as SetMetadata
from envoy.extensions.filters.http.set_metadata.v3.set_metadata_pb2 import Metadata as SetOne
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BoolValue

from culvert.compile.packing import pack
from culvert.model.traffic import AccessLog

NAMESPACE = "culvert.dev"
KEY = "access-log"
_LEVELS = (AccessLog.ERRORS, AccessLog.ALL)

_COMMON = {
    "time": "%START_TIME%",
    "service": "%UPSTREAM_CLUSTER%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "destination": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "endpoint": "%UPSTREAM_HOST%",
    "duration_ms": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "flags": "%RESPONSE_FLAGS%",
}
_REQUEST = _COMMON | {
    "method": "%REQ(:METHOD)%",
    "authority": "%REQ(:AUTHORITY)%",
    "path": "%PATH(NQ:PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "request_id": "%REQ(X-REQUEST-ID)%",
}
_CONNECTION = _COMMON | {"details": "%CONNECTION_TERMINATION_DETAILS%"}


def request_markers(level: AccessLog) -> Mapping[str, AnyMessage]:
    """What routes say of the listener's filters: at most one of them is enabled."""
    if level is AccessLog.OFF:
        return {}
    return {_marker_name(level): pack(FilterConfig(config=AnyMessage()))}


def marker_filters() -> list[manager_pb2.HttpFilter]:
    """The filters of the listener that mark a request for the log, where a route enables them."""
    return [
        manager_pb2.HttpFilter(
            name=_marker_name(level),
            disabled=True,
            typed_config=pack(
                SetMetadata(
                    metadata=[SetOne(metadata_namespace=NAMESPACE, value=_struct({KEY: level}))]
                )
            ),
        )
        for level in _LEVELS
    ]


def request_log() -> list[AccessLogMessage]:
    """The log of the HTTP listener."""
    errors = all_of(_marked(AccessLog.ERRORS), any_of(*_request_errors()))
    return [to_stdout(any_of(_marked(AccessLog.ALL), errors), _REQUEST)]


def connection_log() -> list[AccessLogMessage]:
    """The log of the TCP listener. A connection is logged when it ends."""
    errors = all_of(_cluster_says(AccessLog.ERRORS), _has_flag())
    return [to_stdout(any_of(_cluster_says(AccessLog.ALL), errors), _CONNECTION)]


def cluster_metadata(level: AccessLog) -> Metadata | None:
    """What a cluster of an opaque port carries."""
    if level is AccessLog.OFF:
        return None
    return Metadata(filter_metadata={NAMESPACE: _struct({KEY: level})})


def _marker_name(level: AccessLog) -> str:
    return f"{NAMESPACE}.{KEY}.{level}"


def _request_errors() -> list[AccessLogFilter]:
    """Server errors, what Envoy flags, and gRPC codes that are the server's fault."""
    at_least_500 = ComparisonFilter(
        op=ComparisonFilter.GE,
        value=RuntimeUInt32(default_value=500, runtime_key="culvert.access_log.status"),
    )
    codes = GrpcStatusFilter.Status
    return [
        AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=at_least_500)),
        _has_flag(),
        all_of(
            AccessLogFilter(
                header_filter=HeaderFilter(
                    header=HeaderMatcher(
                        name="content-type",
                        string_match=StringMatcher(prefix="application/grpc"),
                    )
                )
            ),
            AccessLogFilter(
                grpc_status_filter=GrpcStatusFilter(
                    statuses=[
                        *(codes.UNKNOWN, codes.DEADLINE_EXCEEDED, codes.RESOURCE_EXHAUSTED),
                        *(codes.INTERNAL, codes.UNAVAILABLE, codes.DATA_LOSS),
                    ]
                )
            ),
        ),
    ]


def _has_flag() -> AccessLogFilter:
    return AccessLogFilter(response_flag_filter=ResponseFlagFilter())


def _marked(level: AccessLog) -> AccessLogFilter:
    matcher = MetadataMatcher(
        filter=NAMESPACE,
        path=[MetadataMatcher.PathSegment(key=KEY)],
        value=ValueMatcher(string_match=StringMatcher(exact=level)),
    )
    return AccessLogFilter(
        metadata_filter=MetadataFilter(
            matcher=matcher, match_if_key_not_found=BoolValue(value=False)
        )
    )


def _cluster_says(level: AccessLog) -> AccessLogFilter:
    expression = f"xds.cluster_metadata.filter_metadata['{NAMESPACE}']['{KEY}'] == '{level}'"
    return AccessLogFilter(
        extension_filter=ExtensionFilter(
            name="envoy.access_loggers.extension_filters.cel",
            typed_config=pack(ExpressionFilter(expression=expression)),
        )
    )


def any_of(*filters: AccessLogFilter) -> AccessLogFilter:
    """Whether one of the filters matches."""
    return AccessLogFilter(or_filter=OrFilter(filters=filters))


def all_of(*filters: AccessLogFilter) -> AccessLogFilter:
    """Whether all of them match."""
    return AccessLogFilter(and_filter=AndFilter(filters=filters))


def to_stdout(which: AccessLogFilter | None, fields: Mapping[str, str]) -> AccessLogMessage:
    """A line of JSON; fields without a value are left out of it."""
    line = SubstitutionFormatString(json_format=_struct(fields), omit_empty_values=True)
    return AccessLogMessage(
        name="envoy.access_loggers.stdout",
        filter=which,
        typed_config=pack(StdoutAccessLog(log_format=line)),
    )


def _struct(fields: Mapping[str, str]) -> Struct:
    struct = Struct()
    struct.update({name: str(value) for name, value in fields.items()})
    return struct
