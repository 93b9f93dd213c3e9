"""Pods with identities: traffic between nodes in mutual TLS, and policies on who may connect."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest
from culvert.embedded.mesh_node import MeshOptions

from tests.e2e.town import SERVER_PORT, Town, eventually

pytestmark = pytest.mark.kernel

LOAD = ("--duration", "1", "--connections", "4")
MANY = ("--duration", "1", "--connections", "32")
"""So many that each of two endpoints surely gets some of those that are chosen at random."""


@pytest.fixture
def town(make_town: Callable[[MeshOptions], Town]) -> Town:
    return make_town(MeshOptions(identity=True))


def build(town: Town) -> None:
    """Servers and clients on both nodes, each kind with a service account of its own."""
    for node in ("node-a", "node-b"):
        end, port = node[-1], str(SERVER_PORT)
        town.pod(node, f"web-{end}", "http_echo", "--port", port, account="web")
        town.pod(node, f"rpc-{end}", "grpc_echo", "--port", port, account="rpc")
        town.pod(node, f"line-{end}", "tcp_greeter", "--port", port, account="line")
        town.pod(node, f"client-{end}", account="client")
        town.pod(node, f"other-{end}", account="other")
    town.service("web", "10.96.0.10", ["web-a", "web-b"])
    town.service("web6", "fd00:10:96::10", ["web-a", "web-b"])
    town.service("rpc", "10.96.0.11", ["rpc-a", "rpc-b"], protocol="grpc")
    town.service("line", "10.96.0.12", ["line-a", "line-b"], protocol="tcp")
    town.mesh.start()
    town.settle()


def allow(town: Town, name: str, pods: str, *principals: str, dry_run: bool = False) -> None:
    """An ALLOW policy for the pods of a kind; no principal: nobody."""
    rules = (
        [{"from": [{"source": {"principals": [f"cluster.local/ns/default/sa/{one}"]}}]}]
        for one in principals
    )
    policy = {
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": pods}},
            "action": "ALLOW",
            "dryRun": dry_run,
            "rules": [rule for one in rules for rule in one],
        },
    }
    town.write(f"policy-{name}", policy)
    town.settle()


def test_every_protocol_crosses_nodes_in_mutual_tls(town: Town) -> None:
    build(town)
    for node, other in (("node-a", "node-b"), ("node-b", "node-a")):
        end, far = node[-1], other[-1]
        client = f"client-{end}"
        results = {
            "web": town.load(client, "http_load", *LOAD, "http://10.96.0.10/"),
            "web6": town.load(client, "http_load", *LOAD, "http://[fd00:10:96::10]/"),
            "rpc": town.load(client, "grpc_load", *LOAD, "10.96.0.11:80"),
            "line": town.load(client, "tcp_load", *MANY, "10.96.0.12", "80"),
        }
        for name, result in results.items():
            assert result["failures"] == 0, result
            of = name.removesuffix("6")
            assert set(result["answers"]) == {f"{of}-a", f"{of}-b"}
        pod = town.pods[f"line-{far}"]
        for address in (pod.ipv4, pod.ipv6):
            direct = town.load(client, "tcp_load", *LOAD, address, str(SERVER_PORT))
            assert direct["failures"] == 0, direct
            assert set(direct["answers"]) == {f"line-{far}"}
        stats = town.mesh.nodes[node].envoy_stats()
        assert stats["cluster.tunnel.upstream_cx_connect_fail"] == 0
        assert stats["cluster.tunnel.upstream_rq_total"] > 0
        # One caller's identity, three servers' identities, and a few more in the first moment.
        assert stats["cluster.tunnel.upstream_cx_total"] < 40


def test_a_policy_on_connections_holds_on_both_nodes_and_by_pod_address(town: Town) -> None:
    build(town)
    for end in ("a", "b"):
        town.label(f"line-{end}", app="line")
    allow(town, "line", "line", "client")
    for end, far in (("a", "b"), ("b", "a")):
        allowed = town.load(f"client-{end}", "tcp_load", *MANY, "10.96.0.12", "80")
        assert allowed["failures"] == 0, allowed
        assert set(allowed["answers"]) == {"line-a", "line-b"}
        for where in (
            ("10.96.0.12", "80"),
            (town.pods[f"line-{end}"].ipv4, str(SERVER_PORT)),
            (town.pods[f"line-{far}"].ipv4, str(SERVER_PORT)),
            (town.pods[f"line-{far}"].ipv6, str(SERVER_PORT)),
        ):
            refused = town.load(f"other-{end}", "tcp_load", *LOAD, *where)
            assert refused["requests"] == 0, (end, where, refused)
            assert refused["failures"] > 0


def test_a_refused_client_hears_nothing_of_a_server_that_speaks_first(town: Town) -> None:
    build(town)
    for end in ("a", "b"):
        town.label(f"line-{end}", app="line")
    allow(town, "line", "line", "client")
    for end in ("a", "b"):
        with town.pods["other-a"].connect((town.pods[f"line-{end}"].ipv4, SERVER_PORT)) as one:
            one.settimeout(10)
            with suppress(ConnectionError):
                assert one.recv(100) == b""
    eventually(
        lambda: all(
            node.envoy_stats()["tcp.denied.downstream_cx_total"] > 0
            for node in town.mesh.nodes.values()
        ),
        "both nodes to have refused one",
    )


def test_a_dry_run_refuses_nothing_and_tells_what_it_would_refuse(town: Town) -> None:
    build(town)
    for kind in ("line", "web"):
        town.label(f"{kind}-b", app=kind)
        allow(town, kind, kind, "client", dry_run=True)
    line, web = (town.pods[f"{kind}-b"].ipv4 for kind in ("line", "web"))
    for client in ("client-a", "other-a", "other-b"):
        bytes_ = town.load(client, "tcp_load", *LOAD, line, str(SERVER_PORT))
        requests = town.load(client, "http_load", *LOAD, f"http://{web}:{SERVER_PORT}/")
        assert (bytes_["failures"], requests["failures"]) == (0, 0)
    node = town.mesh.nodes["node-b"]

    def remarks() -> dict[str, int]:
        identities = node.status().identities
        assert identities is not None
        return {one.remark: one.count for one in identities.remarks}

    # Four connections of each of the two that the policy does not name.
    eventually(lambda: remarks() == {"would_deny": 8}, "the agent to tell of them")
    stats = node.envoy_stats()
    assert stats["http.inbound_http.rbac.culvert.allow.shadow_denied"] > 0
    assert stats["http.inbound_http.rbac.culvert.allow.denied"] == 0


def echoes(connection: socket.socket) -> bool:
    """Whether bytes still come back; False where the connection has ended."""
    try:
        connection.sendall(b"still there\n")
        return b"still there" in connection.recv(100)
    except ConnectionError:
        return False


def test_a_change_of_policies_cuts_the_connections_that_it_refuses_and_no_others(
    town: Town,
) -> None:
    build(town)
    for end in ("a", "b"):
        town.label(f"line-{end}", app="line")
    town.settle()
    places = [("10.96.0.12", 80)]
    places += [(town.pods[f"line-{end}"].ipv4, SERVER_PORT) for end in ("a", "b")]
    places += [(town.pods["line-b"].ipv6, SERVER_PORT)]
    with ExitStack() as stack:
        held: dict[str, list[socket.socket]] = {}
        for client in ("client-a", "other-a", "other-b"):
            # Four by the Service, that both endpoints have some.
            for place in (*places, places[0], places[0], places[0]):
                one = stack.enter_context(town.pods[client].connect(place))
                one.settimeout(10)
                assert one.recv(100).startswith(b"hello")
                assert echoes(one)
                held.setdefault(client, []).append(one)
        allow(town, "line", "line", "client")
        eventually(
            lambda: not any(echoes(one) for one in (*held["other-a"], *held["other-b"])),
            "the refused connections to end",
        )
        assert all(echoes(one) for one in held["client-a"])


def test_a_long_answer_ends_when_its_caller_may_call_no_more_and_others_go_on(town: Town) -> None:
    build(town)
    for end in ("a", "b"):
        town.label(f"web-{end}", app="web")
    town.settle()
    place = (town.pods["web-b"].ipv4, SERVER_PORT)
    with ExitStack() as stack:
        held = {}
        for client in ("client-a", "other-a", "client-b", "other-b"):
            one = held[client] = stack.enter_context(town.pods[client].connect(place))
            one.settimeout(60)
            one.sendall(b"GET /delay/25000 HTTP/1.1\r\nHost: web\r\n\r\n")
        node = town.mesh.nodes["node-b"]

        def told() -> int:
            identities = node.status().identities
            return identities.live_connections if identities else 0

        eventually(lambda: told() == len(held), "the agent to know of all four")
        allow(town, "web", "web", "client")
        answered = {
            client for client, one in held.items() if one.recv(100).startswith(b"HTTP/1.1 200 ")
        }
    assert answered == {"client-a", "client-b"}
