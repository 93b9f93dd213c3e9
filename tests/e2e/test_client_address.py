"""A pod sees the address of who connects to it, and not that of its node's proxy."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from culvert.embedded.mesh_node import MeshOptions
from culvert.rig import Pod

from tests.e2e.town import SERVER_PORT, Town, eventually

pytestmark = pytest.mark.kernel

SERVER = Path(__file__).with_name("peer_server.py")
LINE4, LINE6 = "10.96.0.12", "fd00:10:96::12"
WEB4, WEB6 = "10.96.0.10", "fd00:10:96::10"
ROUNDS = 20
REQUEST = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"


def build(town: Town) -> None:
    """Servers of both kinds on one node; on each node two clients, all of one identity."""
    for kind in ("line", "web"):
        pod = town.pod("node-a", kind, account=kind)
        program = "http" if kind == "web" else "tcp"
        pod.start([sys.executable, str(SERVER), program, str(SERVER_PORT)])
    for name in ("a-1", "a-2", "b-1", "b-2"):
        town.pod(f"node-{name[0]}", f"client-{name}", account="client")
    for address in (LINE4, LINE6):
        town.service(f"line{address.count(':')}", address, ["line"], protocol="tcp")
    for address in (WEB4, WEB6):
        town.service(f"web{address.count(':')}", address, ["web"])
    town.mesh.start()
    town.settle()


def clients(town: Town) -> list[Pod]:
    return [pod for name, pod in town.pods.items() if name.startswith("client")]


def places(town: Town, kind: str) -> Iterator[tuple[str, int]]:
    """Where a kind of server is reached: by Service and by its own address, IPv4 and IPv6."""
    for service in (LINE4, LINE6) if kind == "line" else (WEB4, WEB6):
        yield service, 80
    yield town.pods[kind].ipv4, SERVER_PORT
    yield town.pods[kind].ipv6, SERVER_PORT


def line(connection: socket.socket) -> str:
    """What a server of bytes says by itself."""
    connection.settimeout(20)
    return connection.makefile("rb").readline().decode().strip()


def ask(connection: socket.socket) -> str:
    """What a server of requests says to the next one."""
    connection.settimeout(20)
    connection.sendall(REQUEST)
    answer = connection.makefile("rb")
    status = answer.readline()
    assert b" 200 " in status, status
    size = 0
    while header := answer.readline().strip():
        name, _, value = header.partition(b":")
        if name.lower() == b"content-length":
            size = int(value)
    return answer.read(size).decode().strip()


def own(client: Pod, place: tuple[str, int]) -> str:
    """What a server should say of a client: by accept() and getpeername() its address."""
    address = client.ipv6 if ":" in place[0] else client.ipv4
    return f"{address} {address}"


def node_of_server(town: Town, place: tuple[str, int]) -> str:
    addresses = town.mesh.nodes["node-a"].node.addresses
    address = addresses.ipv6 if ":" in place[0] else addresses.ipv4
    return f"{address} {address}"


def seen(town: Town, kind: str) -> dict[tuple[str, str], str]:
    """What the server says, by client and by where it was reached."""
    say = line if kind == "line" else ask
    found = {}
    for client in clients(town):
        for place in places(town, kind):
            with client.connect(place) as connection:
                found[client.name, place[0]] = say(connection)
    return found


def expected(town: Town, kind: str) -> dict[tuple[str, str], str]:
    """The clients' own addresses."""
    return {
        (client.name, place[0]): own(client, place)
        for client in clients(town)
        for place in places(town, kind)
    }


@pytest.fixture
def town(make_town: Callable[[MeshOptions], Town]) -> Town:
    return make_town(MeshOptions(identity=True))


def mesh_config(town: Town, mode: str) -> None:
    town.write(
        "mesh",
        {
            "apiVersion": "culvert.dev/v1alpha1",
            "kind": "MeshConfig",
            "metadata": {"name": "default"},
            "spec": {"clientAddress": mode},
        },
    )
    town.settle()


def judge(town: Town) -> None:
    """A policy for the servers that lets the clients in: all comes by the listeners that judge."""
    for kind in ("line", "web"):
        town.label(kind, app=kind)
    client = {"source": {"principals": ["cluster.local/ns/default/sa/client"]}}
    town.write(
        "policy",
        {
            "apiVersion": "culvert.dev/v1alpha1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "clients", "namespace": "default"},
            "spec": {"rules": [{"from": [client]}]},
        },
    )
    town.settle()


@pytest.mark.parametrize("judged", [False, True], ids=["plain", "judged"])
def test_pod_sees_the_client_of_its_own_node_and_of_another(town: Town, judged: bool) -> None:
    build(town)
    if judged:
        judge(town)
    assert seen(town, "line") == expected(town, "line")
    assert seen(town, "web") == expected(town, "web")
    assert town.verdict("node-a", "client_stored") == town.verdict("node-a", "client_taken")


def test_no_request_goes_in_a_connection_that_is_another_clients(town: Town) -> None:
    """All clients have one identity, so that nothing but the address keeps them apart."""
    build(town)
    judge(town)
    with ExitStack() as stack:
        held = [
            (client, place, stack.enter_context(client.connect(place)))
            for place in places(town, "web")
            for client in clients(town)
        ]
        for _ in range(ROUNDS):
            for client, place, connection in held:
                assert ask(connection) == own(client, place), (client.name, place)
    pools = town.mesh.nodes["node-a"].envoy_stats()["cluster.local|http.upstream_cx_total"]
    requests = len(held) * ROUNDS
    assert pools < requests / 4, f"{pools} connections for {requests} requests"


def test_switched_off_pods_see_the_node_and_switched_on_again_their_clients(town: Town) -> None:
    build(town)
    mesh_config(town, "Disabled")
    for kind in ("line", "web"):
        wanted = {
            (client.name, place[0]): node_of_server(town, place)
            for client in clients(town)
            for place in places(town, kind)
        }
        eventually(lambda k=kind, w=wanted: seen(town, k) == w, f"{kind} to see the node")
    mesh_config(town, "Enabled")
    for kind in ("line", "web"):
        eventually(
            lambda k=kind: seen(town, k) == expected(town, k), f"{kind} to see its clients again"
        )


def test_without_identities_bytes_of_the_own_node_have_their_client(
    make_town: Callable[[MeshOptions], Town],
) -> None:
    """What comes from another node comes from that node, and requests share connections."""
    town = make_town(MeshOptions())
    build(town)
    nodes = {name: mesh_node.node.addresses for name, mesh_node in town.mesh.nodes.items()}
    for client in clients(town):
        for place in ((LINE4, 80), (town.pods["line"].ipv4, SERVER_PORT)):
            with client.connect(place) as connection:
                wanted = client.ipv4 if client.node_name == "node-a" else nodes["node-b"].ipv4
                assert line(connection) == f"{wanted} {wanted}", (client.name, place)
        with client.connect((WEB4, 80)) as connection:
            wanted = nodes[client.node_name].ipv4
            assert ask(connection) == f"{wanted} {wanted}", client.name
