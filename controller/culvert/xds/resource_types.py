"""The xDS resource types: their URLs, the order in which they are sent, who may refer to whom."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from culvert.compile.names import TUNNEL_CLUSTER_PREFIX

_PREFIX: Final = "type.googleapis.com/"

CLUSTER: Final = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINTS: Final = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET: Final = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
LISTENER: Final = _PREFIX + "envoy.config.listener.v3.Listener"
SCOPED_ROUTE: Final = _PREFIX + "envoy.config.route.v3.ScopedRouteConfiguration"
ROUTE: Final = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
EXTENSION: Final = _PREFIX + "envoy.config.core.v3.TypedExtensionConfig"

SEND_ORDER: Final = (
    CLUSTER,
    ENDPOINTS,
    SECRET,
    EXTENSION,
    LISTENER,
    SCOPED_ROUTE,
    ROUTE,
)
"""What is referred to comes before what refers to it (make before break)."""

KNOWN: Final = frozenset(SEND_ORDER)

IMPLICIT_WILDCARD: Final = frozenset({CLUSTER, LISTENER, SCOPED_ROUTE})
"""Types for which Envoy's empty first subscription means "everything".

For the others it means "nothing yet": a proxy that has just lost its last cluster has no endpoints
to ask for. An explicit ``*`` is a wildcard for every type.
"""

GATED_ON_CLUSTERS: Final = frozenset({LISTENER, SCOPED_ROUTE, ROUTE})
"""Types whose resources wait until the clusters they name were accepted.

Envoy holds back the ACK of a cluster until it is warm, so an accepted cluster has its endpoints.
Endpoints and secrets must not wait for that ACK: warming needs them.
"""

REFERRERS: Final = {
    CLUSTER: frozenset({LISTENER, SCOPED_ROUTE, ROUTE}),
    ENDPOINTS: frozenset({CLUSTER}),
    SECRET: frozenset({CLUSTER, LISTENER}),
    EXTENSION: frozenset({LISTENER}),
    ROUTE: frozenset({LISTENER, SCOPED_ROUTE}),
}
"""Type -> the types whose resources may name one of it."""


def is_on_demand(type_url: str, name: str) -> bool:
    """Whether a resource is for proxies that ask for it by name, wildcard or not.

    Clusters of single pods are: a proxy needs those of the pods that its own connect to.
    """
    return type_url == CLUSTER and name.startswith(TUNNEL_CLUSTER_PREFIX)


def in_send_order(type_urls: Iterable[str]) -> list[str]:
    """Sort by ``SEND_ORDER``; unknown types come last, by name."""
    rank = {type_url: index for index, type_url in enumerate(SEND_ORDER)}
    return sorted(type_urls, key=lambda type_url: (rank.get(type_url, len(rank)), type_url))


def kind(type_url: str) -> str:
    """Return the message name alone: ``Cluster``, ``ClusterLoadAssignment``, ..."""
    return type_url.rpartition(".")[2] or type_url
