"""Which other resources an xDS resource names, read from its protobuf."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2, scoped_route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from google.protobuf import any_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from culvert.model.desired import Resource
from culvert.xds.resource_types import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    ROUTE,
    SCOPED_ROUTE,
    SECRET,
)
from culvert.xds.session import Reference


def references_of(resource: Resource) -> frozenset[Reference]:
    """Return the (type URL, name) pairs a cluster, listener or route names.

    Covers the fields that point at discovered resources: clusters of routes and of TCP proxies
    (single, weighted and mirrored), the load assignment of an EDS cluster, the routes of a scope
    or of a connection manager with RDS, and SDS secrets. A name computed per connection or request
    (``cluster_header``, filter state) cannot be known. A body that does not decode names nothing:
    the proxy will say what is wrong with it.
    """
    read = _READERS.get(resource.type_url)
    if read is None:
        return frozenset()
    try:
        return frozenset(read(resource.body))
    except DecodeError:
        return frozenset()


def _of_cluster(body: bytes) -> Iterator[Reference]:
    cluster = cluster_pb2.Cluster.FromString(body)
    if cluster.type == cluster_pb2.Cluster.EDS:
        yield ENDPOINTS, cluster.eds_cluster_config.service_name or cluster.name
    if cluster.HasField("transport_socket"):
        yield from _walk(cluster.transport_socket)
    for match in cluster.transport_socket_matches:
        yield from _walk(match.transport_socket)


def _of_route(body: bytes) -> Iterator[Reference]:
    yield from _of_virtual_hosts(route_pb2.RouteConfiguration.FromString(body))


def _of_scoped_route(body: bytes) -> Iterator[Reference]:
    scope = scoped_route_pb2.ScopedRouteConfiguration.FromString(body)
    if scope.route_configuration_name:
        yield ROUTE, scope.route_configuration_name
    if scope.HasField("route_configuration"):
        yield from _of_virtual_hosts(scope.route_configuration)


def _of_virtual_hosts(routes: Any) -> Iterator[Reference]:
    # Not `_walk`: routes are the bulk of a snapshot, and this is many times faster.
    for host in routes.virtual_hosts:
        for mirror in host.request_mirror_policies:
            yield from _named(CLUSTER, mirror.cluster)
        for route in host.routes:
            if route.HasField("route"):
                yield from _of_action(route.route)
        if host.HasField("matcher"):
            yield from _walk(host.matcher)
    for mirror in routes.request_mirror_policies:
        yield from _named(CLUSTER, mirror.cluster)


def _of_action(action: Any) -> Iterator[Reference]:
    yield from _named(CLUSTER, action.cluster)
    for weighted in action.weighted_clusters.clusters:
        yield from _named(CLUSTER, weighted.name)
    for mirror in action.request_mirror_policies:
        yield from _named(CLUSTER, mirror.cluster)


def _of_listener(body: bytes) -> Iterator[Reference]:
    yield from _walk(listener_pb2.Listener.FromString(body))


def _named(type_url: str, name: str) -> Iterator[Reference]:
    if name:
        yield type_url, name


def _walk(message: Message) -> Iterator[Reference]:
    """Search a message and everything packed inside it, whatever the extension."""
    if isinstance(message, any_pb2.Any):
        inner = _message_class(message.type_url.rpartition("/")[2])
        if inner is not None:
            yield from _walk(inner.FromString(message.value))
        return
    full_name = message.DESCRIPTOR.full_name
    for field, value in message.ListFields():
        pointed_at = _POINTERS.get((full_name, field.name))
        if pointed_at is not None:
            yield from _named(pointed_at, value)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for one in _messages(field, value):
                yield from _walk(one)


def _messages(field: FieldDescriptor, value: Any) -> list[Message]:
    if isinstance(value, Message):
        return [value]
    values = value.values() if hasattr(value, "values") else value
    return [one for one in values if isinstance(one, Message)]


@cache
def _message_class(full_name: str) -> Any:
    """Find a message class by name, ``None`` when nothing has imported its module."""
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(full_name)
    except KeyError:
        return None
    return message_factory.GetMessageClass(descriptor)


def _field(message: Any, name: str) -> tuple[str, str]:
    return message.DESCRIPTOR.full_name, message.DESCRIPTOR.fields_by_name[name].name


_POINTERS = {
    _field(route_components_pb2.RouteAction, "cluster"): CLUSTER,
    _field(route_components_pb2.RouteAction.RequestMirrorPolicy, "cluster"): CLUSTER,
    _field(route_components_pb2.WeightedCluster.ClusterWeight, "name"): CLUSTER,
    _field(tcp_proxy_pb2.TcpProxy, "cluster"): CLUSTER,
    _field(tcp_proxy_pb2.TcpProxy.WeightedCluster.ClusterWeight, "name"): CLUSTER,
    _field(http_connection_manager_pb2.Rds, "route_config_name"): ROUTE,
    _field(secret_pb2.SdsSecretConfig, "name"): SECRET,
}

PACKED = (
    http_connection_manager_pb2.HttpConnectionManager,
    tcp_proxy_pb2.TcpProxy,
    tls_pb2.DownstreamTlsContext,
    tls_pb2.UpstreamTlsContext,
)
"""Extensions that are looked into; a type is found only once its module is imported."""

_READERS: dict[str, Callable[[bytes], Iterator[Reference]]] = {
    CLUSTER: _of_cluster,
    LISTENER: _of_listener,
    ROUTE: _of_route,
    SCOPED_ROUTE: _of_scoped_route,
}
