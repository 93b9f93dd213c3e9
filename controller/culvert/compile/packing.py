"""Deterministic protobuf encoding.

Protobuf leaves the order of map entries open; Envoy compares resources by their bytes, so every
message, nested ones in ``Any`` as well, is encoded with ordered maps.
"""

from __future__ import annotations

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from culvert.model.desired import Resource

TYPE_URL_PREFIX = "type.googleapis.com/"

LISTENER_TYPE = TYPE_URL_PREFIX + "envoy.config.listener.v3.Listener"
CLUSTER_TYPE = TYPE_URL_PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT_TYPE = TYPE_URL_PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
SCOPED_ROUTE_TYPE = TYPE_URL_PREFIX + "envoy.config.route.v3.ScopedRouteConfiguration"
ROUTE_TYPE = TYPE_URL_PREFIX + "envoy.config.route.v3.RouteConfiguration"
EXTENSION_TYPE = TYPE_URL_PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
SECRET_TYPE = TYPE_URL_PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"

RESOURCE_TYPES = (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    EXTENSION_TYPE,
    LISTENER_TYPE,
    SCOPED_ROUTE_TYPE,
    ROUTE_TYPE,
)
"""Every type a compiled snapshot holds, present even where it has no resources."""


def encode(message: Message) -> bytes:
    """Encode a message with ordered maps."""
    return message.SerializeToString(deterministic=True)


def pack(message: Message) -> AnyMessage:
    """Wrap a message in ``Any``, deterministically (``Any.Pack`` does not promise that)."""
    return AnyMessage(
        type_url=TYPE_URL_PREFIX + message.DESCRIPTOR.full_name, value=encode(message)
    )


def resource(name: str, message: Message) -> Resource:
    """Make the xDS resource of a message."""
    return Resource.of(TYPE_URL_PREFIX + message.DESCRIPTOR.full_name, name, encode(message))


def duration(seconds: float) -> Duration:
    """A protobuf duration, to the nanosecond."""
    whole = int(seconds)
    return Duration(seconds=whole, nanos=round((seconds - whole) * 1e9))
