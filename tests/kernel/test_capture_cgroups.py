"""A pod is found by its cgroup, whatever the depth of the process that connects."""

from __future__ import annotations

import pytest
from culvert.model.redirect import Pod as PodEntry
from culvert.model.redirect import PodFlag
from culvert.redirect.abi import Verdict
from culvert.rig import Pod

from tests.kernel.data_path import DataPath, Peer, original_destination, run_in

pytestmark = pytest.mark.kernel

CONNECT = """
import json, socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as made:
    print(json.dumps(made.getpeername()))
"""


def proxy_gets(data_path: DataPath, client: Pod, asked: Peer, container: str | None) -> bool:
    """Whether the proxy gets a connection made in a container; the pod's own cgroup if None."""
    with data_path.proxy.listen() as listener:
        assert tuple(run_in(client, CONNECT, *asked, container=container)) == asked
        with listener.accept()[0] as accepted:
            return original_destination(accepted) == asked


@pytest.mark.parametrize("container", [None, "main"], ids=["pod", "container"])
def test_process_of_a_pod_is_captured(data_path: DataPath, container: str | None) -> None:
    client = data_path.add_pod("client")
    asked = data_path.capture("10.96.0.10", 80)
    data_path.apply()
    assert proxy_gets(data_path, client, asked, container)


def test_cgroup_inside_a_container_is_captured(data_path: DataPath) -> None:
    """As when a container runs systemd, or another container runtime."""
    client = data_path.add_pod("client")
    asked = data_path.capture("10.96.0.10", 80)
    data_path.apply()
    client.container_cgroup("main")
    assert proxy_gets(data_path, client, asked, "main/init.scope")


def test_cgroup_that_was_removed_and_made_anew_is_another_pod(data_path: DataPath) -> None:
    """Its id is new: an entry of the old id captures nothing, one of the new id does."""
    client, server = data_path.add_pod("client"), data_path.add_pod("server")
    with server.listen((server.ipv4, 0)) as listener:
        asked = data_path.capture(*listener.getsockname())
        data_path.apply()
        old_id = client.cgroup_id
        client.cgroup.rmdir()
        client.cgroup.mkdir()
        assert client.cgroup_id != old_id
        assert tuple(run_in(client, CONNECT, *asked)) == asked
        listener.settimeout(10)
        listener.accept()[0].close()
    assert data_path.count(Verdict.CONNECT_PASS_NOT_ENROLLED) == 1
    del data_path.table.pods[old_id]
    data_path.table.pods[client.cgroup_id] = PodEntry(PodFlag.CAPTURED)
    data_path.apply()
    assert proxy_gets(data_path, client, asked, None)
