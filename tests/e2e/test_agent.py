from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from culvert.embedded.mesh_node import MeshOptions
from culvert.embedded.unix_http import fetch

from tests.e2e.town import SERVER_PORT, Town

pytestmark = pytest.mark.kernel


def build(town: Town) -> None:
    port = str(SERVER_PORT)
    town.pod("node-a", "web", "http_echo", "--port", port, labels={"app": "web"})
    town.pod("node-a", "client")
    town.service("web", "10.96.0.10", ["web"])
    town.mesh.start()


def load(town: Town) -> None:
    result = town.load("client", "http_load", "--duration", "1", "--fail", "http://10.96.0.10/")
    assert result["requests"] > 0
    assert result["failures"] == 0


def test_without_acceleration_everything_works_by_tcp(
    make_town: Callable[[MeshOptions], Town],
) -> None:
    town = make_town(MeshOptions(accelerate=False))
    build(town)
    load(town)
    status = town.mesh.nodes["node-a"].status()
    assert status.acceleration == "off"
    assert status.acceleration_reason == "switched off by the operator"
    assert status.verdicts["send_redirected"].count == 0
    assert status.verdicts["enrol_done"].count == 0
    assert status.verdicts["connect_redirected"].count > 0


def test_no_compiler_stays_in_the_agent(town: Town) -> None:
    build(town)
    agent = town.mesh.nodes["node-a"].agent
    assert agent is not None
    mapped = Path(f"/proc/{agent.pid}/maps").read_text()
    assert "libgrpc" in mapped or "cygrpc" in mapped
    for library in ("libLLVM", "libbcc", "libclang"):
        assert library not in mapped


def test_metrics_and_health_are_served_on_a_socket_of_the_owner_only(town: Town) -> None:
    build(town)
    load(town)
    node = town.mesh.nodes["node-a"]
    assert fetch(node.status_socket, "/healthz") == (200, b"ok\n")
    assert fetch(node.status_socket, "/readyz") == (200, b"ok\n")
    _, body = fetch(node.status_socket, "/metrics")
    text = body.decode()
    assert "culvert_xds_pushes_total" in text
    assert 'culvert_redirects_total{verdict="send_redirected"}' in text
    for socket in (node.status_socket, node.admin_socket, node.directory / "xds.sock"):
        assert socket.stat().st_mode & 0o077 == 0, socket


def test_pod_that_declines_acceleration_is_captured_and_stays_on_tcp(town: Town) -> None:
    build(town)
    town.pod("node-a", "plain", annotations={"culvert.dev/acceleration": "disabled"})
    town.settle()
    before = town.mesh.nodes["node-a"].status().verdicts
    result = town.load("plain", "http_load", "--duration", "1", "http://10.96.0.10/")
    assert result["requests"] > 0
    after = town.mesh.nodes["node-a"].status().verdicts
    assert after["connect_redirected"].count > before["connect_redirected"].count
    # Only the second hop, Envoy to the server, may be accelerated: its two sends per request.
    redirected = after["send_redirected"].count - before["send_redirected"].count
    assert redirected <= 2 * result["requests"] + 16
