"""What resources are found to refer to."""

from __future__ import annotations

from typing import Any

from culvert.model.desired import Resource
from culvert.xds.references import references_of
from culvert.xds.resource_types import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    ROUTE,
    SCOPED_ROUTE,
    SECRET,
)
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2, scoped_route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

TYPES = "type.googleapis.com/"


def found(type_url: str, message: Message, value: dict[str, Any]) -> set[tuple[str, str]]:
    body = json_format.ParseDict(value, message).SerializeToString()
    return set(references_of(Resource.of(type_url, "it", body)))


def any_of(message: type[Message], **value: Any) -> dict[str, Any]:
    return {"@type": TYPES + message.DESCRIPTOR.full_name, **value}


ROUTES = {
    "virtual_hosts": [
        {
            "name": "v",
            "domains": ["*"],
            "request_mirror_policies": [{"cluster": "host-mirror"}],
            "routes": [
                {
                    "match": {"prefix": "/a"},
                    "route": {
                        "cluster": "one",
                        "request_mirror_policies": [{"cluster": "mirror"}],
                    },
                },
                {
                    "match": {"prefix": "/b"},
                    "route": {
                        "weighted_clusters": {
                            "clusters": [{"name": "two", "weight": 1}, {"name": "three"}]
                        }
                    },
                },
                {"match": {"prefix": "/c"}, "direct_response": {"status": 404}},
            ],
        }
    ]
}
ROUTED = {(CLUSTER, name) for name in ("one", "two", "three", "mirror", "host-mirror")}


def test_eds_cluster_names_its_load_assignment() -> None:
    cluster = {"name": "c", "type": "EDS", "eds_cluster_config": {"service_name": "s"}}
    assert found(CLUSTER, cluster_pb2.Cluster(), cluster) == {(ENDPOINTS, "s")}


def test_eds_cluster_without_service_name_uses_its_own() -> None:
    assert found(CLUSTER, cluster_pb2.Cluster(), {"name": "c", "type": "EDS"}) == {(ENDPOINTS, "c")}


def test_original_destination_cluster_names_nothing() -> None:
    cluster = {"name": "c", "type": "ORIGINAL_DST"}
    assert found(CLUSTER, cluster_pb2.Cluster(), cluster) == set()


def test_tls_cluster_names_its_secrets() -> None:
    secrets = {"tls_certificate_sds_secret_configs": [{"name": "mine"}]}
    context = any_of(tls_pb2.UpstreamTlsContext, common_tls_context=secrets)
    cluster = {"name": "c", "transport_socket": {"name": "tls", "typed_config": context}}
    assert found(CLUSTER, cluster_pb2.Cluster(), cluster) == {(SECRET, "mine")}


def test_route_names_single_weighted_and_mirrored_clusters() -> None:
    assert found(ROUTE, route_pb2.RouteConfiguration(), ROUTES) == ROUTED


def test_scope_names_the_clusters_of_its_inline_routes() -> None:
    scope = {"name": "s", "route_configuration": ROUTES}
    assert found(SCOPED_ROUTE, scoped_route_pb2.ScopedRouteConfiguration(), scope) == ROUTED


def test_scope_names_its_route() -> None:
    scope = {"name": "s", "route_configuration_name": "r"}
    assert found(SCOPED_ROUTE, scoped_route_pb2.ScopedRouteConfiguration(), scope) == {(ROUTE, "r")}


def test_listener_names_what_is_packed_inside_it() -> None:
    filters = [
        any_of(tcp_proxy_pb2.TcpProxy, cluster="plain"),
        any_of(manager_pb2.HttpConnectionManager, route_config=ROUTES),
        any_of(manager_pb2.HttpConnectionManager, rds={"route_config_name": "named"}),
    ]
    listener = {
        "name": "l",
        "filter_chains": [{"filters": [{"name": "f", "typed_config": f}]} for f in filters],
    }
    assert found(LISTENER, listener_pb2.Listener(), listener) == {
        (CLUSTER, "plain"),
        (ROUTE, "named"),
        *ROUTED,
    }


def test_body_that_does_not_decode_names_nothing() -> None:
    assert references_of(Resource.of(CLUSTER, "c", b"\xff\xff")) == frozenset()
