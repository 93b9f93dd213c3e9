from __future__ import annotations

import json

import pytest

from tests.e2e.town import SERVER_PORT, Town, eventually

pytestmark = pytest.mark.kernel


def build(town: Town) -> None:
    """An HTTP, a gRPC and a server-first TCP service with an endpoint on each node."""
    for node in ("node-a", "node-b"):
        end = node[-1]
        port = str(SERVER_PORT)
        town.pod(node, f"web-{end}", "http_echo", "--port", port, labels={"app": "web"})
        town.pod(node, f"rpc-{end}", "grpc_echo", "--port", port, labels={"app": "rpc"})
        town.pod(node, f"line-{end}", "tcp_greeter", "--port", port, labels={"app": "line"})
        town.pod(node, f"client-{end}")
    town.service("web", "10.96.0.10", ["web-a", "web-b"])
    town.service("web6", "fd00:10:96::10", ["web-a", "web-b"])
    town.service("rpc", "10.96.0.11", ["rpc-a", "rpc-b"], protocol="grpc")
    town.service("line", "10.96.0.12", ["line-a", "line-b"], protocol="tcp")
    town.mesh.start()


def test_every_protocol_crosses_envoy_and_the_sockhash_on_both_nodes(town: Town) -> None:
    build(town)
    for node in ("node-a", "node-b"):
        client = f"client-{node[-1]}"
        options = ("--duration", "2", "--connections", "4", "--fail")
        web = town.load(client, "http_load", *options, "http://10.96.0.10/")
        web6 = town.load(client, "http_load", *options, "http://[fd00:10:96::10]/")
        rpc = town.load(client, "grpc_load", *options, "10.96.0.11:80")
        line = town.load(client, "tcp_load", *options, "10.96.0.12", "80")

        for result in (web, web6, rpc, line):
            assert result["requests"] > 0
            assert result["failures"] == 0, result
        assert set(web["answers"]) == {"web-a", "web-b"}
        assert set(rpc["answers"]) == {"rpc-a", "rpc-b"}

        stats = town.mesh.nodes[node].envoy_stats()
        asked = web["requests"] + web6["requests"] + rpc["requests"]
        assert stats["http.service_http.downstream_rq_total"] >= asked
        assert stats["tcp.service_tcp.downstream_cx_total"] >= 4
        # Two sends of the client's hop at least for each exchange, and those of the local server's.
        assert town.verdict(node, "send_redirected") > 2 * web["requests"]
        assert town.verdict(node, "handoff_missing") == 0


def test_application_sees_the_address_it_asked_for(town: Town) -> None:
    build(town)
    with town.pods["client-a"].connect(("10.96.0.10", 80)) as connection:
        assert connection.getpeername() == ("10.96.0.10", 80)
    with town.pods["client-a"].connect(("fd00:10:96::10", 80)) as connection:
        assert connection.getpeername()[:2] == ("fd00:10:96::10", 80)


def test_pod_address_is_reached_through_the_proxy_and_nothing_is_added(town: Town) -> None:
    build(town)
    target = town.pods["web-b"].ipv4
    got = town.pods["client-a"].run(["curl", "-sS", f"http://{target}:{SERVER_PORT}/x%2Fy"])
    seen = json.loads(got.stdout)
    assert seen["path"] == "/x%2Fy"
    assert {name.lower() for name, _ in seen["headers"]} == {"host", "user-agent", "accept"}
    assert town.mesh.nodes["node-a"].envoy_stats()["tcp.pod_tcp.downstream_cx_total"] == 1


def test_http_service_sees_only_what_the_client_sent(town: Town) -> None:
    build(town)
    client = town.pods["client-a"]
    got = client.run(["curl", "-sS", "-H", "X-Forwarded-For: 192.0.2.7", "http://10.96.0.10/"])
    headers = dict(json.loads(got.stdout)["headers"])
    assert headers.pop("X-Forwarded-For", None) == "192.0.2.7"
    assert {name.lower() for name in headers} == {"host", "user-agent", "accept"}


def test_connection_to_the_proxy_itself_is_refused(town: Town) -> None:
    build(town)
    for port in (15001, 15002, 15003, 15004):
        with pytest.raises(PermissionError):
            town.pods["client-a"].connect(("169.254.77.1", port))
    denied = town.verdict("node-a", "connect_deny_proxy_address")
    assert denied == 4


def test_pod_outside_the_mesh_is_left_alone(town: Town) -> None:
    build(town)
    town.pod("node-a", "outsider", labels={"culvert.dev/mesh": "disabled"})
    town.settle()
    before = town.verdict("node-a", "connect_redirected")
    target = town.pods["web-b"].ipv4
    got = town.pods["outsider"].run(["curl", "-sS", f"http://{target}:{SERVER_PORT}/"])
    assert json.loads(got.stdout)["remote"].startswith(town.pods["outsider"].ipv4 + ":")
    assert town.verdict("node-a", "connect_redirected") == before


def test_endpoints_follow_the_manifests_with_no_failed_request(town: Town) -> None:
    build(town)
    load = town.start(
        "client-a", "http_load", "--duration", "6", "--rate", "50", "http://10.96.0.10/"
    )
    town.service("web", "10.96.0.10", ["web-a"])
    town.settle()
    result = town.load("client-a", "http_load", "--duration", "1", "http://10.96.0.10/")
    assert set(result["answers"]) == {"web-a"}
    town.service("web", "10.96.0.10", ["web-b"])
    town.settle()
    result = town.load("client-a", "http_load", "--duration", "1", "http://10.96.0.10/")
    assert set(result["answers"]) == {"web-b"}
    out, _ = load.communicate(timeout=60)
    final = json.loads(out.decode().strip().splitlines()[-1])
    assert final["failures"] == 0, final


def test_broken_manifest_is_reported_and_the_rest_goes_on(town: Town) -> None:
    build(town)
    (town.manifests / "broken.yaml").write_text("kind: Service\n  bad: [indent")
    town.service("late", "10.96.0.77", ["web-a"])
    node = town.mesh.nodes["node-a"]
    eventually(
        lambda: any("broken.yaml" in one.subject for one in node.status().findings),
        "a finding that names the file",
    )
    town.settle()
    result = town.load("client-a", "http_load", "--duration", "1", "--fail", "http://10.96.0.77/")
    assert result["failures"] == 0


def test_service_without_endpoints_answers_503_and_never_bypasses(town: Town) -> None:
    build(town)
    town.service("web", "10.96.0.10", [])
    town.settle()
    got = town.pods["client-a"].run(
        ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "http://10.96.0.10/"]
    )
    assert got.stdout == b"503"
