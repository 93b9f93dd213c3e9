"""Whether a snapshot hangs together: nothing in it points at something that is not there."""

from __future__ import annotations

from collections.abc import Iterator

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration

from culvert.compile.names import (
    POD_SCOPE_PREFIX,
    TCP_CLUSTER_PREFIX,
    socket_address_text,
    tcp_cluster_name,
)
from culvert.compile.packing import CLUSTER_TYPE, ENDPOINT_TYPE, SCOPED_ROUTE_TYPE
from culvert.model.desired import Desired
from culvert.model.redirect import ProxyListener, address_text


def inconsistencies(desired: Desired) -> Iterator[str]:
    """Say, one sentence each, what a compiled answer refers to but does not hold.

    Checked: endpoints of every EDS cluster and no others; clusters of every route; a scope or a
    cluster for every destination that goes to a Service listener; scopes and TCP clusters that no
    destination reaches.
    """
    clusters = desired.resources[CLUSTER_TYPE]
    endpoints = desired.resources[ENDPOINT_TYPE]
    scopes = desired.resources[SCOPED_ROUTE_TYPE]
    wanted_endpoints = set()
    for name, resource in clusters.items():
        cluster = Cluster.FromString(resource.body)
        if cluster.type == Cluster.EDS:
            wanted_endpoints.add(cluster.eds_cluster_config.service_name)
        if cluster.name != name:
            yield f"cluster {name} calls itself {cluster.name}"
    for name in sorted(wanted_endpoints - endpoints.keys()):
        yield f"endpoints {name} are missing"
    for name in sorted(endpoints.keys() - wanted_endpoints):
        yield f"endpoints {name} belong to no cluster"
    for name, resource in endpoints.items():
        if ClusterLoadAssignment.FromString(resource.body).cluster_name != name:
            yield f"endpoints {name} call themselves otherwise"
    for name, resource in scopes.items():
        scope = ScopedRouteConfiguration.FromString(resource.body)
        for virtual_host in scope.route_configuration.virtual_hosts:
            for route in virtual_host.routes:
                if route.route.cluster not in clusters:
                    yield f"scope {name} routes to cluster {route.route.cluster}, which is missing"
    reached = set()
    for key, destination in desired.redirect.destinations.items():
        address = address_text(key.address)
        if destination.listener is ProxyListener.SERVICE_HTTP:
            reached.add(scope_name := socket_address_text(address, key.port_host))
            if scope_name not in scopes:
                yield f"scope {scope_name} is missing"
        elif destination.listener is ProxyListener.SERVICE_TCP:
            cluster_name = tcp_cluster_name(address, key.port_host)
            reached.add(cluster_name)
            if cluster_name not in clusters:
                yield f"cluster {cluster_name} is missing"
    tcp_clusters = {name for name in clusters if name.startswith(TCP_CLUSTER_PREFIX)}
    of_services = {name for name in scopes if not name.startswith(POD_SCOPE_PREFIX)}
    for name in sorted((of_services | tcp_clusters) - reached):
        yield f"{name} is not reached by any destination"
