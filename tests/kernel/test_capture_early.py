"""Connections that a pod made before it was captured go on as they are, and are counted."""

from __future__ import annotations

import pytest
from culvert.model.redirect import Pod as PodEntry
from culvert.model.redirect import PodFlag
from culvert.redirect.early import EarlyConnections
from culvert.redirect.encode import PODS
from culvert.redirect.kernel import KernelMaps
from culvert.redirect.plan import diff
from culvert.rig import Pod

from tests.kernel.data_path import DataPath, Loaded

pytestmark = pytest.mark.kernel

PORT = 8080


def enrol(data_path: DataPath, pod: Pod) -> None:
    data_path.table.pods[pod.cgroup_id] = PodEntry(flags=PodFlag.CAPTURED)
    data_path.apply()


def test_connection_from_before_capture_goes_on_and_is_counted_once(data_path: DataPath) -> None:
    client = data_path.add_pod("client", flags=PodFlag.NONE)
    server = data_path.add_pod("server")
    data_path.apply()
    with (
        server.listen((server.ipv4, PORT)) as listener,
        client.connect((server.ipv4, PORT)) as near,
        listener.accept()[0] as far,
    ):
        enrol(data_path, client)
        assert data_path.maps.early(client.cgroup_id) == 1
        near.sendall(b"still here")
        far.settimeout(10)
        assert far.recv(64) == b"still here"


def test_connections_of_a_pod_to_itself_are_not_counted(data_path: DataPath) -> None:
    client = data_path.add_pod("client", flags=PodFlag.NONE)
    data_path.apply()
    for address in ("127.0.0.1", "::1"):
        with client.listen((address, PORT)), client.connect((address, PORT)):
            pass
    enrol(data_path, client)
    assert data_path.maps.early(client.cgroup_id) == 0


def test_counts_of_pods_are_apart(data_path: DataPath) -> None:
    first, second = (data_path.add_pod(name, flags=PodFlag.NONE) for name in ("one", "two"))
    server = data_path.add_pod("server")
    data_path.apply()
    with server.listen((server.ipv4, PORT)), first.connect((server.ipv4, PORT)):
        pass
    assert data_path.maps.early(second.cgroup_id) == 0
    assert data_path.maps.early(first.cgroup_id) == 1


def test_connections_of_a_captured_pod_are_not_early(data_path: DataPath) -> None:
    client = data_path.add_pod("client")
    asked = data_path.capture("10.96.0.10", 80)
    data_path.apply()
    with data_path.proxy.listen(), client.connect(asked):
        pass
    assert data_path.maps.early(client.cgroup_id) == 0


def test_count_is_there_for_the_next_agent_until_the_pod_is_released(
    loaded: Loaded, data_path: DataPath
) -> None:
    client = data_path.add_pod("client", flags=PodFlag.NONE)
    server = data_path.add_pod("server")
    data_path.apply()
    with server.listen((server.ipv4, PORT)), client.connect((server.ipv4, PORT)):
        pass
    enrol(data_path, client)
    captured = data_path.maps.read()[PODS]
    EarlyConnections().follow(captured, data_path.maps.early)
    with KernelMaps(loaded.maps) as reopened:
        early = EarlyConnections()
        early.follow(reopened.read()[PODS], reopened.early)
        assert early.by_cgroup() == {client.cgroup_id: 1}
        early.release(diff({PODS: captured}, {}), reopened.forget_early)
        assert reopened.early(client.cgroup_id) == 0
        reopened.forget_early(client.cgroup_id)
