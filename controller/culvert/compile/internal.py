"""Hops inside the proxy: connections from one of its clusters to one of its listeners.

Envoy, "Internal listener". Metadata of the endpoint and shared objects of filter state go along.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, EnvoyInternalAddress
from envoy.config.core.v3.base_pb2 import Metadata, TransportSocket
from envoy.config.endpoint.v3.endpoint_components_pb2 import (
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.transport_sockets.internal_upstream.v3.internal_upstream_pb2 import (
    InternalUpstreamTransport,
)
from envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from envoy.type.metadata.v3.metadata_pb2 import MetadataKind
from google.protobuf.struct_pb2 import Struct

from culvert.compile.names import socket_address_text
from culvert.compile.packing import duration, pack

INBOUND_HTTP = "inbound_http"
INBOUND_TCP = "inbound_tcp"
TUNNEL_TO_SERVICE = "tunnel_to_service"
TUNNEL_TO_POD = "tunnel_to_pod"

TUNNEL_METADATA = "culvert.tunnel"
"""Namespace of the endpoint metadata that says where a tunnel goes."""
ORIGINAL_DST_METADATA = "envoy.filters.listener.original_dst"
TRANSPORT_METADATA = "envoy.transport_socket_match"
INTERNAL = {"culvert": "internal"}
"""Endpoint metadata under ``TRANSPORT_METADATA`` of endpoints inside the proxy."""

_CONNECT_SECONDS = 5.0


def internal_transport() -> TransportSocket:
    """Carries metadata of the endpoint and shared filter state to the listener."""
    host = MetadataKind(host=MetadataKind.Host())
    source = InternalUpstreamTransport.MetadataValueSource
    transport = InternalUpstreamTransport(
        passthrough_metadata=[
            source(kind=host, name=TUNNEL_METADATA),
            source(kind=host, name=ORIGINAL_DST_METADATA),
        ],
        transport_socket=TransportSocket(
            name="envoy.transport_sockets.raw_buffer", typed_config=pack(RawBuffer())
        ),
    )
    return TransportSocket(
        name="envoy.transport_sockets.internal_upstream", typed_config=pack(transport)
    )


def internal_match() -> Cluster.TransportSocketMatch:
    """For clusters some of whose endpoints are inside the proxy."""
    match = Struct()
    match.update(INTERNAL)
    return Cluster.TransportSocketMatch(
        name="internal", match=match, transport_socket=internal_transport()
    )


def internal_cluster(name: str, listener: str) -> Cluster:
    """A cluster of one endpoint, which is an internal listener."""
    return internal_cluster_of(name, LbEndpoint(endpoint=internal_endpoint(listener, name)))


def internal_cluster_of(name: str, endpoint: LbEndpoint) -> Cluster:
    """A cluster of one endpoint that is inside the proxy."""
    return Cluster(
        name=name,
        type=Cluster.STATIC,
        connect_timeout=duration(_CONNECT_SECONDS),
        load_assignment=ClusterLoadAssignment(
            cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])]
        ),
        transport_socket=internal_transport(),
    )


def internal_endpoint(listener: str, endpoint_id: str) -> Endpoint:
    """An endpoint that is an internal listener; the id tells such endpoints apart."""
    return Endpoint(
        address=Address(
            envoy_internal_address=EnvoyInternalAddress(
                server_listener_name=listener, endpoint_id=endpoint_id
            )
        )
    )


def inbound_endpoint(listener: str, address: str, port_host: int) -> LbEndpoint:
    """A pod of this node behind the listener that judges."""
    destination = socket_address_text(address, port_host)
    metadata = _endpoint_metadata(destination)
    metadata.filter_metadata[ORIGINAL_DST_METADATA].update({"local": destination})
    return LbEndpoint(endpoint=internal_endpoint(listener, destination), metadata=metadata)


def tunnel_endpoint(
    address: str, port_host: int, tunnel: str, principals: Iterable[str], server_name: str
) -> LbEndpoint:
    """A pod of another node; ``tunnel`` is that node's address and port.

    It answers as one of ``principals``. ``port_host`` 0: the port that the connection asked for.
    """
    destination = socket_address_text(address, port_host)
    metadata = _endpoint_metadata(destination)
    metadata.filter_metadata[TUNNEL_METADATA].update(
        {
            "destination": destination,
            "node": tunnel,
            "principal": ",".join(principals),
            "server_name": server_name,
        }
    )
    listener = TUNNEL_TO_SERVICE if port_host else TUNNEL_TO_POD
    return LbEndpoint(endpoint=internal_endpoint(listener, destination), metadata=metadata)


def _endpoint_metadata(destination: str) -> Metadata:
    metadata = Metadata()
    metadata.filter_metadata[TRANSPORT_METADATA].update(INTERNAL)
    # Balancers that hash take the pod's address on every node, whatever the way to it.
    metadata.filter_metadata["envoy.lb"].update({"hash_key": destination})
    return metadata
