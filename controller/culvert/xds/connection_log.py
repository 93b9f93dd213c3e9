"""The proxy's word on its connections: the gRPC access log service, beside the configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import structlog
from envoy.config.core.v3.address_pb2 import Address
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogCommon, AccessLogType
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import StringValue

from culvert.compile import filter_state
from culvert.model.live import LiveConnection, Moment

_log = structlog.get_logger(__name__)

_SERVICE = "envoy.service.accesslog.v3.AccessLogService"
_METHOD = "StreamAccessLogs"

Told = Callable[[LiveConnection, Moment], None]

_MOMENTS = {
    AccessLogType.TcpUpstreamConnected: Moment.BEGINS,
    AccessLogType.TcpConnectionEnd: Moment.ENDS,
}


def connection_log_handler(told: Told) -> Any:
    """The service, for ``grpc.aio.Server.add_generic_rpc_handlers``."""

    async def serve(_requests: object, context: Any) -> None:
        while True:
            body = await context.read()
            if body is grpc.aio.EOF:
                return
            try:
                message = StreamAccessLogsMessage.FromString(body)
            except DecodeError as error:
                _log.warning("not a message of the access log", reason=str(error))
                continue
            entries = [
                *((one.common_properties, False) for one in message.tcp_logs.log_entry),
                *((one.common_properties, True) for one in message.http_logs.log_entry),
            ]
            for common, carries_requests in entries:
                connection = read_entry(common, carries_requests=carries_requests)
                if connection is not None:
                    told(connection, _MOMENTS.get(common.access_log_type, Moment.LASTS))

    handler: Any = grpc.stream_stream_rpc_method_handler(serve)
    return grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler})


def read_entry(common: AccessLogCommon, *, carries_requests: bool = False) -> LiveConnection | None:
    """The connection to a pod that an entry is about; None where there is none.

    A hop inside the proxy has no address, and what could not connect has none of its own.
    """
    near, far = _socket(common.upstream_local_address), _socket(common.upstream_remote_address)
    if near is None or far is None:
        return None
    return LiveConnection(
        near_address=near[0],
        near_port_host=near[1],
        pod_address=far[0],
        pod_port_host=far[1],
        principal=_text(common.filter_state_objects, filter_state.PRINCIPAL),
        source_address=_text(common.filter_state_objects, filter_state.SOURCE),
        carries_requests=carries_requests,
    )


def _socket(address: Address) -> tuple[str, int] | None:
    if not address.HasField("socket_address") or not address.socket_address.address:
        return None
    return address.socket_address.address, address.socket_address.port_value


def _text(objects: Any, key: str) -> str:
    found = objects.get(key)
    if found is None:
        return ""
    text = StringValue()
    return str(text.value) if found.Unpack(text) else ""
