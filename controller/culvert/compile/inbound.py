"""The last stretch of a connection to a pod of this node: where policies are enforced.

Connections arrive at two internal listeners, from other nodes through the tunnel and from this
node through its own proxy. Whichever way they came, they carry the same: the caller's principal and
address in filter state, and the pod's address and port as their own destination. One listener is
for ports that speak HTTP, one for all others.
"""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from google.protobuf.wrappers_pb2 import UInt32Value

from culvert.compile.clusters import original_destination_cluster
from culvert.compile.http_manager import http_filter, http_manager, routes_by_destination
from culvert.compile.internal import INBOUND_HTTP, INBOUND_TCP, internal_cluster
from culvert.compile.names import LOCAL_HTTP_CLUSTER, LOCAL_TCP_CLUSTER
from culvert.compile.packing import pack, resource
from culvert.compile.protocol import Protocol
from culvert.compile.tcp import tcp_filter
from culvert.model.desired import Resource
from culvert.model.settings import Settings

INBOUND_HTTP_CLUSTER = "inbound|http"
INBOUND_TCP_CLUSTER = "inbound|tcp"


def compile_inbound(settings: Settings) -> tuple[Resource, ...]:
    """The clusters of the last stretch, and the listener for HTTP."""
    manager = http_manager("inbound_http", "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%")
    manager.scoped_routes.CopyFrom(routes_by_destination("pods"))
    clusters = (
        internal_cluster(INBOUND_HTTP_CLUSTER, INBOUND_HTTP),
        internal_cluster(INBOUND_TCP_CLUSTER, INBOUND_TCP),
        original_destination_cluster(LOCAL_HTTP_CLUSTER, Protocol.HTTP, settings),
        original_destination_cluster(LOCAL_TCP_CLUSTER, Protocol.TCP, settings),
    )
    chain = FilterChain(name="pods", filters=[http_filter(manager)])
    return (
        *(resource(cluster.name, cluster) for cluster in clusters),
        resource(INBOUND_HTTP, inbound_listener(INBOUND_HTTP, settings, chain)),
        resource(
            INBOUND_TCP,
            inbound_listener(
                INBOUND_TCP,
                settings,
                FilterChain(name="pods", filters=[tcp_filter(INBOUND_TCP, LOCAL_TCP_CLUSTER)]),
            ),
        ),
    )


def inbound_listener(name: str, settings: Settings, *chains: FilterChain) -> Listener:
    """An internal listener that knows where its connections are going."""
    return Listener(
        name=name,
        stat_prefix=name,
        internal_listener=Listener.InternalListenerConfig(),
        traffic_direction=TrafficDirection.INBOUND,
        listener_filters=[
            ListenerFilter(
                name="envoy.filters.listener.original_dst", typed_config=pack(OriginalDst())
            )
        ],
        filter_chains=chains,
        per_connection_buffer_limit_bytes=UInt32Value(value=settings.connection_buffer_bytes),
    )
