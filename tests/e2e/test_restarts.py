from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
from culvert.embedded.mesh_node import MeshOptions

from tests.e2e.town import SERVER_PORT, Town, eventually, summary

pytestmark = pytest.mark.kernel

AGENT_KILLS = int(os.environ.get("CULVERT_AGENT_KILLS", "5"))


def build(town: Town) -> None:
    for node in ("node-a", "node-b"):
        port = str(SERVER_PORT)
        town.pod(node, f"web-{node[-1]}", "http_echo", "--port", port, labels={"app": "web"})
    town.pod("node-a", "client")
    town.service("web", "10.96.0.10", ["web-a", "web-b"])
    town.mesh.start()


def test_killed_agent_fails_no_request_on_live_or_new_connections(town: Town) -> None:
    build(town)
    node = town.mesh.nodes["node-a"]
    url = "http://10.96.0.10/"
    live = town.start("client", "http_load", "--connections", "1", "--rate", "20", url)
    fresh = town.start("client", "http_load", "--connections", "4", "--rate", "20", "--fresh", url)
    for _ in range(AGENT_KILLS):
        node.kill_agent()
        time.sleep(0.05)
        node.start_agent()
        node.wait_ready()
    for process in (live, fresh):
        process.terminate()
        out, _ = process.communicate(timeout=30)
        result = summary(out)
        print(
            f"{AGENT_KILLS} kills: {result['requests']} requests, {result['failures']} failed "
            f"{result.get('reasons', '')}"
        )
        assert result["requests"] >= 5 * AGENT_KILLS
        assert result["failures"] == 0, result


def test_killed_envoy_fails_closed_by_default_and_recovers(town: Town) -> None:
    build(town)
    node = town.mesh.nodes["node-a"]
    client = town.pods["client"]
    node.kill_envoy()
    for address in (("10.96.0.10", 80), (town.pods["web-b"].ipv4, SERVER_PORT)):
        with pytest.raises(ConnectionRefusedError):
            client.connect(address)
    assert node.status().proxy_listeners == 0

    start = time.monotonic()
    node.start_envoy()
    eventually(lambda: _answers(town), "the service to answer after Envoy's restart")
    print(f"recovered {time.monotonic() - start:.2f} s after Envoy's start")


def test_killed_envoy_fails_open_where_asked(make_town: Callable[[MeshOptions], Town]) -> None:
    town = make_town(MeshOptions(fail_open=True))
    build(town)
    node = town.mesh.nodes["node-a"]
    target = town.pods["web-b"].ipv4
    node.kill_envoy()
    with town.pods["client"].connect((target, SERVER_PORT)) as connection:
        assert connection.getpeername() == (target, SERVER_PORT)
    assert town.verdict("node-a", "connect_pass_fail_open") == 1

    node.start_envoy()
    node.wait_ready()
    before = town.verdict("node-a", "connect_redirected")
    town.pods["client"].connect((target, SERVER_PORT)).close()
    assert town.verdict("node-a", "connect_redirected") == before + 1


def test_agent_started_anew_finds_everything_in_place(town: Town) -> None:
    build(town)
    node = town.mesh.nodes["node-a"]
    pods = {pin.name for pin in (node.pins / "links").iterdir()}
    node.kill_agent()
    town.service("late", "10.96.0.20", ["web-b"])
    assert _answers(town)
    node.start_agent()
    node.wait_ready()
    assert {pin.name for pin in (node.pins / "links").iterdir()} == pods
    result = town.load("client", "http_load", "--duration", "1", "--fail", "http://10.96.0.20/")
    assert result["failures"] == 0


def _answers(town: Town) -> bool:
    got = town.pods["client"].run(
        ["curl", "-sS", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", "http://10.96.0.10/"]
    )
    return got.stdout == b"200"
