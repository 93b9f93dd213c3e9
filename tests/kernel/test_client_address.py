"""A pod is shown for whom the node's proxy connects to it: the address that the proxy binds to."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from culvert.model.redirect import PodFlag
from culvert.redirect.abi import Verdict
from culvert.rig import Pod

from tests.kernel.data_path import DataPath, Peer, peer_of

pytestmark = pytest.mark.kernel

FAMILIES = pytest.mark.parametrize(
    "family", [socket.AF_INET, socket.AF_INET6], ids=lambda family: family.name
)
PORT = 8080
CLIENTS = {
    socket.AF_INET: ("10.244.7.7", "10.244.7.8"),
    socket.AF_INET6: ("fd00:7::7", "fd00:7::8"),
}
"""Of another node: no address of this one."""
ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
TRANSPARENT = {
    socket.AF_INET: (socket.IPPROTO_IP, 19),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 75),
}
"""IP_TRANSPARENT and IPV6_TRANSPARENT of ``linux/in.h`` and ``linux/in6.h``."""
IPPROTO_MPTCP = 262
"""Go's servers listen by it; a client that speaks TCP alone is accepted as one."""
IP_BIND_ADDRESS_NO_PORT = 24

LISTEN = """
import socket, sys
with socket.socket(socket.AF_INET6, socket.SOCK_STREAM, int(sys.argv[1])) as listener:
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", int(sys.argv[2])))
    listener.listen()
    print("listening", flush=True)
    made, shown = listener.accept()
    print(shown[0], made.getpeername()[0], flush=True)
"""


def own(pod: Pod, family: socket.AddressFamily) -> str:
    """The pod's address of a family."""
    return pod.ipv6 if family == socket.AF_INET6 else pod.ipv4


def proxied(
    data_path: DataPath, asked: Peer, client: str, family: socket.AddressFamily
) -> socket.socket:
    """A connection that the proxy makes for a client, as Envoy's original_src filter has it do."""
    made = data_path.proxy.socket(family)
    made.setsockopt(*TRANSPARENT[family], 1)
    made.bind((client, 0))
    made.connect(asked)
    return made


def seen_by(listener: socket.socket) -> Peer:
    """The peer of the next connection, by accept(), and by getpeername() the same."""
    made, shown = listener.accept()
    with made:
        assert peer_of(made) == shown[:2]
        return Peer(*shown[:2])


def node_address(data_path: DataPath, family: socket.AddressFamily) -> str:
    """The node's own address of a family."""
    node = data_path.node.addresses
    return node.ipv6 if family == socket.AF_INET6 else node.ipv4


@FAMILIES
def test_pod_is_shown_the_client_and_the_port_of_the_proxy(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    server = data_path.add_pod("server")
    data_path.apply()
    with server.listen((own(server, family), PORT)) as listener:
        asked = Peer(own(server, family), PORT)
        for client in CLIENTS[family]:
            with proxied(data_path, asked, client, family) as near:
                assert seen_by(listener) == (client, near.getsockname()[1])
                # What goes over the wire is the node's.
                assert near.getsockname()[0] == node_address(data_path, family)
                assert peer_of(near) == asked
    assert data_path.count(Verdict.CLIENT_STORED) == 2
    assert data_path.count(Verdict.CLIENT_TAKEN) == 2


@pytest.mark.parametrize("protocol", [socket.IPPROTO_TCP, IPPROTO_MPTCP], ids=["tcp", "mptcp"])
def test_pod_that_listens_for_both_families_is_shown_a_mapped_client(
    data_path: DataPath, protocol: int
) -> None:
    server = data_path.add_pod("server")
    data_path.apply()
    client, _ = CLIENTS[socket.AF_INET]
    argv = [sys.executable, "-I", "-S", "-c", LISTEN, str(protocol), str(PORT)]
    started = server.start(argv, stdout=subprocess.PIPE)
    assert started.stdout is not None
    with started.stdout as said:
        assert said.readline() == b"listening\n"
        with proxied(data_path, Peer(server.ipv4, PORT), client, socket.AF_INET):
            assert said.readline().decode().split() == [f"::ffff:{client}"] * 2
    assert started.wait(timeout=10) == 0


@FAMILIES
def test_proxy_needs_no_privilege_and_has_no_port_before_it_connects(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    """With a port at bind(), all connections to all pods would share one range of ports."""
    with data_path.proxy.socket(family) as made:
        made.setsockopt(*TRANSPARENT[family], 1)
        assert made.getsockopt(*TRANSPARENT[family]) == 0
        assert made.getsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT) == 1
        made.bind((CLIENTS[family][0], 0))
        assert made.getsockname()[:2] == (ANY[family], 0)


@FAMILIES
def test_connection_that_the_proxy_makes_for_itself_has_the_nodes_address(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    server = data_path.add_pod("server")
    data_path.apply()
    with (
        server.listen((own(server, family), PORT)) as listener,
        data_path.proxy.connect((own(server, family), PORT)) as near,
    ):
        assert seen_by(listener) == near.getsockname()[:2]
    assert data_path.count(Verdict.CLIENT_STORED) == 0


@FAMILIES
def test_bound_to_no_address_in_particular_the_proxy_connects_for_itself(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    server = data_path.add_pod("server")
    data_path.apply()
    asked = Peer(own(server, family), PORT)
    with server.listen(asked) as listener, data_path.proxy.socket(family) as near:
        near.bind((ANY[family], 0))
        near.connect(asked)
        assert seen_by(listener) == near.getsockname()[:2]
    assert data_path.count(Verdict.CLIENT_STORED) == 0


@FAMILIES
def test_port_of_a_connection_that_ended_untaken_brings_nobody_its_client(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    """The node's next socket on that port may be the kubelet's."""
    server = data_path.add_pod("server")
    data_path.apply()
    asked = Peer(own(server, family), PORT)
    data_path.links.joinpath("pods-sockops").unlink()  # nothing takes what the proxy leaves
    with server.listen(asked) as listener:
        near = proxied(data_path, asked, CLIENTS[family][0], family)
        used = near.getsockname()[:2]
        listener.accept()[0].close()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        near.close()
        data_path.attach()
        again = data_path.proxy.socket(family)
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(used)
        with again:
            again.connect(asked)
            assert seen_by(listener) == used
    assert data_path.count(Verdict.CLIENT_STORED) == 1
    assert data_path.count(Verdict.CLIENT_TAKEN) == 0


def test_a_pod_cannot_say_for_whom_it_connects(data_path: DataPath) -> None:
    """What binds in a pod is the pod's own affair: only the proxy is asked."""
    server, client = data_path.add_pod("server"), data_path.add_pod("client")
    data_path.apply()
    with (
        server.listen((server.ipv4, PORT)) as listener,
        client.connect((server.ipv4, PORT), bind=(client.ipv4, 0)) as near,
    ):
        assert seen_by(listener) == near.getsockname()
    assert data_path.count(Verdict.CLIENT_STORED) == 0


def test_connection_to_what_is_no_pod_of_the_node_leaves_nothing_behind(
    data_path: DataPath,
) -> None:
    outside = data_path.add_pod("outside", flags=PodFlag.NONE)
    data_path.apply()
    with outside.listen((outside.ipv4, PORT)) as listener:
        asked = Peer(outside.ipv4, PORT)
        with proxied(data_path, asked, CLIENTS[socket.AF_INET][0], socket.AF_INET) as near:
            assert seen_by(listener) == near.getsockname()
    assert data_path.count(Verdict.CLIENT_STORED) == 0


@FAMILIES
def test_strict_pod_is_shown_the_client_as_well(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    server = data_path.add_pod("server")
    data_path.require_mtls(server)
    with server.listen((own(server, family), PORT)) as listener:
        asked = Peer(own(server, family), PORT)
        client = CLIENTS[family][0]
        with proxied(data_path, asked, client, family):
            assert seen_by(listener).address == client
    assert data_path.count(Verdict.STRICT_ALLOWED_NODE) == 1
