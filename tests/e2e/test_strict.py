"""A STRICT PeerAuthentication, from its manifest to connections: agents, Envoys and the kernel."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from culvert.embedded.mesh_node import MeshOptions
from culvert.rig import netns

from tests.e2e.town import SERVER_PORT, Town, eventually

pytestmark = pytest.mark.kernel

LOAD = ("--duration", "1", "--connections", "4")
REFUSED_SECONDS = 0.3
OUTSIDE = {"culvert.dev/mesh": "disabled"}


@pytest.fixture
def town(make_town: Callable[[MeshOptions], Town]) -> Town:
    made = make_town(MeshOptions(identity=True))
    for node in ("node-a", "node-b"):
        made.pod(node, f"client-{node[-1]}")
        made.pod(node, f"outsider-{node[-1]}", labels=OUTSIDE)
    made.pod("node-a", "line", "tcp_greeter", "--port", str(SERVER_PORT))
    made.service("line", "10.96.0.12", ["line"], protocol="tcp")
    return made


def require_mtls(town: Town, namespace: str = "default", **more: Any) -> None:
    """A STRICT PeerAuthentication for the pods of a namespace, or as ``more`` says."""
    policy = {
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "strict", "namespace": namespace},
        "spec": {"mtls": {"mode": "STRICT"}, **more},
    }
    town.write("peer-authentication", policy)


def reaches(town: Town, client: str, address: str, port: int = SERVER_PORT) -> bool:
    """Whether the server answers a pod that calls it by its address."""
    try:
        near = town.pods[client].connect((address, port), timeout_seconds=REFUSED_SECONDS)
    except TimeoutError:
        return False
    near.close()
    return True


def is_probed(town: Town, address: str) -> bool:
    """Whether the server answers its node, as a kubelet calls it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.entered(town.mesh.nodes["node-a"].node.netns_descriptor):
        probe = socket.socket(family)
    with probe:
        probe.settimeout(10)
        return probe.connect_ex((address, SERVER_PORT)) == 0


def test_strict_pods_take_the_mesh_and_their_node_and_nobody_else(town: Town) -> None:
    require_mtls(town)
    town.mesh.start()
    town.settle()
    line = town.pods["line"]
    for address in (line.ipv4, line.ipv6):
        assert not reaches(town, "outsider-a", address)
        assert not reaches(town, "outsider-b", address)
        assert is_probed(town, address)
    for client in ("client-a", "client-b"):
        for where in (("10.96.0.12", "80"), (line.ipv4, str(SERVER_PORT))):
            result = town.load(client, "tcp_load", *LOAD, *where)
            assert result["failures"] == 0, (client, where, result)
    assert town.verdict("node-a", "strict_refused") == 4
    log = town.log("node-a", "agent")
    source = town.pods["outsider-b"].ipv4
    eventually(
        lambda: any(
            "refused plain text" in one and source in one for one in log.read_text().splitlines()
        ),
        "the agent to say who was refused",
    )


def test_a_strict_pod_is_not_reached_through_a_service_past_the_mesh(town: Town) -> None:
    town.mesh.start()
    town.settle()
    outsider, line = town.pods["outsider-b"], town.pods["line"]
    # As kube-proxy leads those that no mesh captures.
    rule = ("OUTPUT", "-d", "10.96.0.12", "-p", "tcp", "--dport", "80", "-j", "DNAT")
    to = ("--to-destination", f"{line.ipv4}:{SERVER_PORT}")
    done = outsider.run(["iptables", "-w", "-t", "nat", "-A", *rule, *to])
    assert done.returncode == 0, done.stderr
    assert reaches(town, "outsider-b", "10.96.0.12", 80)
    require_mtls(town)
    town.settle()
    assert not reaches(town, "outsider-b", "10.96.0.12", 80)
    assert town.verdict("node-a", "strict_refused") > 0


def test_strict_pods_stay_strict_while_agent_and_envoy_are_down(town: Town) -> None:
    require_mtls(town)
    town.mesh.start()
    town.settle()
    line, node = town.pods["line"], town.mesh.nodes["node-a"]
    node.kill_agent()
    node.kill_envoy()
    assert not reaches(town, "outsider-a", line.ipv4)
    assert is_probed(town, line.ipv4)
    node.start_agent()
    node.start_envoy()
    node.wait_ready()
    assert not reaches(town, "outsider-a", line.ipv4)
    assert town.load("client-b", "tcp_load", *LOAD, "10.96.0.12", "80")["failures"] == 0


def test_pod_that_starts_while_the_agent_is_down_is_as_strict_as_the_mesh(town: Town) -> None:
    require_mtls(town, namespace="culvert-system")
    town.mesh.start()
    town.settle()
    node = town.mesh.nodes["node-a"]
    node.kill_agent()
    late = town.pod("node-a", "late", "tcp_greeter", "--port", str(SERVER_PORT))
    for address in (late.ipv4, late.ipv6):
        eventually(lambda address=address: is_probed(town, address), "its node to reach it")
        assert not reaches(town, "outsider-a", address)
        assert not reaches(town, "outsider-b", address)
    node.start_agent()
    node.wait_ready()
    town.settle()
    assert not reaches(town, "outsider-a", late.ipv4)
    assert town.load("client-b", "tcp_load", *LOAD, late.ipv4, str(SERVER_PORT))["failures"] == 0


def test_strict_pod_is_strict_at_an_address_that_the_cluster_does_not_know(town: Town) -> None:
    town.mesh.start()
    town.settle()
    line, node, hidden = town.pods["line"], town.mesh.nodes["node-a"].node, "10.99.0.7"
    assert line.run(["ip", "address", "add", f"{hidden}/32", "dev", "lo"]).returncode == 0
    with netns.entered(node.netns_descriptor):
        subprocess.run(["ip", "route", "add", hidden, "via", line.ipv4], check=True)
    assert reaches(town, "outsider-a", hidden)
    require_mtls(town)
    town.settle()
    assert not reaches(town, "outsider-a", hidden)
    assert town.verdict("node-a", "strict_refused") > 0


def test_policy_that_is_written_and_taken_away_takes_effect_at_once(town: Town) -> None:
    town.mesh.start()
    town.settle()
    line = town.pods["line"]
    assert reaches(town, "outsider-a", line.ipv4)
    require_mtls(town)
    town.settle()
    assert not reaches(town, "outsider-a", line.ipv4)
    require_mtls(
        town,
        targetRefs=[{"kind": "Service", "name": "line"}],
        portLevelMtls={str(SERVER_PORT): {"mode": "PERMISSIVE"}},
    )
    town.settle()
    assert reaches(town, "outsider-a", line.ipv4)
    require_mtls(town)
    town.settle()
    assert not reaches(town, "outsider-a", line.ipv4)
    town.remove("peer-authentication")
    eventually(lambda: reaches(town, "outsider-a", line.ipv4), "the policy to be gone")
