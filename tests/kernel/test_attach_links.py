"""Links hold without the process that made them, follow their cgroup, and fail with a reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from culvert.model.redirect import Pod as PodEntry
from culvert.model.redirect import PodFlag
from culvert.redirect.abi import Verdict
from culvert.redirect.attach import AttachError, attach, detach_others, hooks
from culvert.rig import cgroup
from culvert.rig.cgroup import find_mount

from tests.kernel.data_path import DataPath, original_destination

pytestmark = pytest.mark.kernel

ATTACH = """
import sys
from pathlib import Path
from culvert.redirect.attach import attach, hooks
programs, links, pods, proxy, root = map(Path, sys.argv[1:])
attach(programs, links, hooks(pods, proxy, root))
"""


def captures(data_path: DataPath) -> bool:
    """Whether a pod made now is captured."""
    client = data_path.add_pod(f"client{len(data_path.pods)}")
    asked = data_path.capture("10.96.0.10", 80)
    data_path.apply()
    with (
        data_path.proxy.listen() as listener,
        client.connect(asked),
        listener.accept()[0] as accepted,
    ):
        return original_destination(accepted) == asked


def test_links_outlive_the_process_that_attached(data_path: DataPath) -> None:
    data_path.detach()
    node = data_path.node
    paths = [data_path.loaded.programs, data_path.links, node.pods_cgroup, node.proxy_cgroup]
    paths.append(find_mount())
    subprocess.run([sys.executable, "-c", ATTACH, *map(str, paths)], check=True, timeout=60)
    assert captures(data_path)


def test_cgroup_that_was_made_anew_is_attached_anew(data_path: DataPath) -> None:
    """As when the container runtime restarts with no pod on the node."""
    pods = data_path.node.pods_cgroup
    pods.rmdir()
    pods.mkdir()
    data_path.attach()
    assert captures(data_path)
    assert data_path.count(Verdict.CONNECT_REDIRECTED) == 1


def test_missing_cgroup_is_named(data_path: DataPath, tmp_path: Path) -> None:
    node = data_path.node
    missing = node.cgroup / "no-such-cgroup"
    with pytest.raises(AttachError, match=r"cv_sockops on cgroup .*/no-such-cgroup .*: No such"):
        attach(
            data_path.loaded.programs,
            data_path.links,
            hooks(missing, node.proxy_cgroup, find_mount()),
        )


def test_directory_that_is_no_cgroup_is_named(data_path: DataPath, tmp_path: Path) -> None:
    with pytest.raises(AttachError, match=f"cv_sockops on cgroup {tmp_path} "):
        attach(
            data_path.loaded.programs,
            data_path.links,
            hooks(tmp_path, data_path.node.proxy_cgroup, find_mount()),
        )


def test_failed_attaching_leaves_what_captured_before(data_path: DataPath) -> None:
    """The hooks that could be replaced were; those after the failure run as they did."""
    node = data_path.node
    with pytest.raises(AttachError):
        attach(
            data_path.loaded.programs,
            data_path.links,
            hooks(node.cgroup / "no-such-cgroup", node.proxy_cgroup, find_mount()),
        )
    assert captures(data_path)


def test_link_that_is_no_longer_wanted_is_detached(data_path: DataPath) -> None:
    client, server = data_path.add_pod("client"), data_path.add_pod("server")
    with server.listen((server.ipv4, 0)) as listener:
        asked = data_path.capture(*listener.getsockname())
        data_path.apply()
        detach_others(data_path.links, tuple(h for h in data_path.hooks if not h.captures))
        with client.connect(asked) as connection:
            listener.settimeout(10)
            listener.accept()[0].close()
            assert connection.getpeername() == asked
    assert data_path.count(Verdict.CONNECT_REDIRECTED) == 0
    left = {pin.name for pin in data_path.links.iterdir()}
    assert left == {hook.name for hook in data_path.hooks if not hook.captures}


def test_processes_outside_the_pods_cgroup_are_not_captured(data_path: DataPath) -> None:
    """The agent and the proxy themselves, even if a pod's entry had their cgroup's id."""
    node = data_path.node
    data_path.table.pods[cgroup.cgroup_id(node.proxy_cgroup)] = PodEntry(PodFlag.CAPTURED)
    server = data_path.add_pod("server")
    with server.listen((server.ipv4, 0)) as listener:
        asked = data_path.capture(*listener.getsockname())
        data_path.apply()
        with data_path.proxy.listen(), data_path.proxy.connect(asked):
            listener.settimeout(10)
            listener.accept()[0].close()
    assert data_path.count(Verdict.CONNECT_REDIRECTED) == 0
