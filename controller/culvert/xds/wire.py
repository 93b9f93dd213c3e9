"""Between the values of a delta stream and its bytes.

A resource's body is never encoded again: a response is framed around the bytes that the compiler
made, by the rules of the protobuf encoding (protobuf.dev, "Encoding"). Fields of
``envoy.service.discovery.v3.DeltaDiscoveryResponse`` and ``Resource``.
"""

from __future__ import annotations

from dataclasses import dataclass

from envoy.service.discovery.v3 import discovery_pb2

from culvert.model.desired import Resource
from culvert.xds.exchange import DeltaRequest, DeltaResponse

_LENGTH_DELIMITED = 2


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request with the node id it came with; Envoy sends the id once per stream."""

    node_id: str
    request: DeltaRequest


def decode_request(body: bytes) -> ReceivedRequest:
    """Read a ``DeltaDiscoveryRequest``.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no such message.
    """
    message = discovery_pb2.DeltaDiscoveryRequest.FromString(body)
    error = None
    if message.HasField("error_detail"):
        error = message.error_detail.message or f"status code {message.error_detail.code}"
    return ReceivedRequest(
        message.node.id,
        DeltaRequest(
            message.type_url,
            subscribe=tuple(message.resource_names_subscribe),
            unsubscribe=tuple(message.resource_names_unsubscribe),
            initial_versions=dict(message.initial_resource_versions),
            response_nonce=message.response_nonce,
            error=error,
        ),
    )


def encode_response(response: DeltaResponse) -> bytes:
    """Write a ``DeltaDiscoveryResponse``."""
    parts = [_text(1, response.system_version)]
    for resource in response.resources:
        parts.append(_resource(resource))
    parts.append(_text(4, response.type_url))
    parts.append(_text(5, response.nonce))
    parts.extend(_text(6, name) for name in response.removed)
    return b"".join(parts)


def _resource(resource: Resource) -> bytes:
    packed_type = _text(1, resource.type_url)
    body_head = _head(2, len(resource.body))
    packed_bytes = len(packed_type) + len(body_head) + len(resource.body)
    fields = _text(1, resource.version) + _head(2, packed_bytes) + packed_type + body_head
    name = _text(3, resource.name)
    whole_bytes = len(fields) + len(resource.body) + len(name)
    return b"".join((_head(2, whole_bytes), fields, resource.body, name))


def _text(number: int, text: str) -> bytes:
    if not text:
        return b""
    encoded = text.encode()
    return _head(number, len(encoded)) + encoded


def _head(number: int, length_bytes: int) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(length_bytes)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
