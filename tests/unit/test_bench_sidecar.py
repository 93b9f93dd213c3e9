from __future__ import annotations

from pathlib import Path

import pytest
from culvert.compile.node import compile_node
from culvert.compile.packing import CLUSTER_TYPE, LISTENER_TYPE
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)

from tests.bench.sidecar import sidecar_bootstrap
from tests.golden.case import Case, read_case

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def case() -> Case:
    return read_case(GOLDEN / "http-service")


def filters_without_route_source(listener: Listener) -> list[bytes]:
    found = []
    for chain in listener.filter_chains:
        if chain.name == "itself":
            continue
        for one in chain.filters:
            manager = manager_pb2.HttpConnectionManager()
            if one.typed_config.Unpack(manager):
                manager.scoped_routes.ClearField("scoped_rds")
                manager.scoped_routes.ClearField("rds_config_source")
                manager.scoped_routes.ClearField("scoped_route_configurations_list")
                one.typed_config.Pack(manager)
            found.append(one.SerializeToString(deterministic=True))
    return found


def test_sidecar_has_the_filters_of_the_node_proxy(case: Case) -> None:
    node = {
        name: Listener.FromString(one.body)
        for name, one in compile_node(case.world, case.node).resources[LISTENER_TYPE].items()
    }
    sidecar = sidecar_bootstrap(case.world, case.node, "/admin").static_resources.listeners
    assert {one.name for one in sidecar} == set(node)
    for one in sidecar:
        assert filters_without_route_source(one) == filters_without_route_source(node[one.name])


def test_sidecar_clusters_differ_in_the_source_of_endpoints_alone(case: Case) -> None:
    node = compile_node(case.world, case.node).resources[CLUSTER_TYPE]
    sidecar = sidecar_bootstrap(case.world, case.node, "/admin").static_resources.clusters
    assert {one.name for one in sidecar} == set(node)
    for one in sidecar:
        want = Cluster.FromString(node[one.name].body)
        if want.type == Cluster.EDS:
            assert one.type == Cluster.STATIC
            assert one.load_assignment.endpoints
        for cluster in (one, want):
            cluster.ClearField("type")
            cluster.ClearField("eds_cluster_config")
            cluster.ClearField("load_assignment")
        assert one == want


def test_sidecar_asks_nobody_for_configuration(case: Case) -> None:
    bootstrap = sidecar_bootstrap(case.world, case.node, "/admin")
    assert not bootstrap.HasField("dynamic_resources")
    managers = [
        manager
        for listener in bootstrap.static_resources.listeners
        for chain in listener.filter_chains
        for one in chain.filters
        if one.typed_config.Unpack(manager := manager_pb2.HttpConnectionManager())
    ]
    scoped = [one for one in managers if one.HasField("scoped_routes")]
    assert scoped
    for one in scoped:
        assert not one.scoped_routes.HasField("scoped_rds")
        assert one.scoped_routes.scoped_route_configurations_list.scoped_route_configurations
