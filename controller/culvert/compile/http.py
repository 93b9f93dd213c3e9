"""What every HTTP connection through the proxy has in common.

The proxy must not be noticed: header case, paths, hop counts and request ids stay as the client
sent them, nothing is timed out that would not be without it.
"""

from __future__ import annotations

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.protocol_pb2 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
)
from envoy.extensions.http.header_formatters.preserve_case.v3.preserve_case_pb2 import (
    PreserveCaseFormatterConfig,
)
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from culvert.compile.packing import duration, pack

DESTINATION_HEADER = "x-culvert-destination"
"""Carries the original destination from the listener to route selection, and no further."""
SAVED_FORWARDED_PROTO_HEADER = "x-culvert-forwarded-proto"
"""Carries the client's own x-forwarded-proto past Envoy, which sets one where there is none."""

MAX_HEADERS_KIB = 256
MAX_HEADER_COUNT = 1000
STREAM_WINDOW_BYTES = 256 * 1024
CONNECTION_WINDOW_BYTES = 1024 * 1024
MAX_CONCURRENT_STREAMS = 100_000


def http1_options() -> Http1ProtocolOptions:
    """HTTP/1 as it came: case of header names, trailers and HTTP/1.0 allowed."""
    return Http1ProtocolOptions(
        accept_http_10=True,
        # HTTP/1.0 has no Host header to require; Envoy needs some name to put in its place.
        default_host_for_http_10="unspecified",
        enable_trailers=True,
        header_key_format=Http1ProtocolOptions.HeaderKeyFormat(
            stateful_formatter=TypedExtensionConfig(
                name="preserve_case", typed_config=pack(PreserveCaseFormatterConfig())
            )
        ),
    )


def http2_options() -> Http2ProtocolOptions:
    """HTTP/2 with windows small enough that many connections fit in memory."""
    return Http2ProtocolOptions(
        max_concurrent_streams=UInt32Value(value=MAX_CONCURRENT_STREAMS),
        initial_stream_window_size=UInt32Value(value=STREAM_WINDOW_BYTES),
        initial_connection_window_size=UInt32Value(value=CONNECTION_WINDOW_BYTES),
        # RFC 8441: websockets over HTTP/2.
        allow_connect=True,
        override_stream_error_on_invalid_http_message=BoolValue(value=True),
    )


def common_options(idle_timeout_seconds: float) -> HttpProtocolOptions:
    """Limits for both versions; an idle timeout of 0 is none."""
    return HttpProtocolOptions(
        idle_timeout=duration(idle_timeout_seconds),
        max_headers_count=UInt32Value(value=MAX_HEADER_COUNT),
    )
