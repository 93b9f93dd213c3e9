"""R1, R10, R16, R19: connections that come about in less common ways than connect, then accept."""

from __future__ import annotations

import socket

import pytest
from culvert.redirect.abi import Verdict
from culvert.rig import process

from tests.kernel.accelerated import SMALL, read_exactly, redirected
from tests.kernel.data_path import DataPath, original_destination, run_in

pytestmark = pytest.mark.kernel

TCP_FASTOPEN_NO_COOKIE = 34
"""``linux/tcp.h``: data in the first packet, without the cookie of RFC 7413."""

FAST_OPEN = """
import json, socket, sys
open("/proc/sys/net/ipv4/tcp_fastopen", "w").write("3")
listener = socket.socket()
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
listener.setsockopt(socket.IPPROTO_TCP, 34, 1)
listener.bind((sys.argv[1], 0))
listener.listen()
client = socket.socket()
client.setsockopt(socket.IPPROTO_TCP, 34, 1)
client.sendto(b"early ", socket.MSG_FASTOPEN, listener.getsockname())
server = listener.accept()[0]
in_first_packet = server.recv(100, socket.MSG_PEEK).decode()
client.sendall(b"later")
got = b""
while len(got) < 11:
    got += server.recv(100)
server.sendall(b"answer")
print(json.dumps([in_first_packet, got.decode(), client.recv(100).decode()]))
"""

FAST_OPEN_TO = """
import json, socket, sys
client = socket.socket()
client.setsockopt(socket.IPPROTO_TCP, 34, 1)
client.sendto(b"early", socket.MSG_FASTOPEN, (sys.argv[1], int(sys.argv[2])))
print(json.dumps(client.getpeername()))
"""

TO_ITSELF = """
import json, socket, sys
one = socket.socket()
one.settimeout(10)
one.bind((sys.argv[1], 0))
one.connect(one.getsockname())
one.sendall(b"to itself")
print(json.dumps(one.recv(100).decode()))
"""


def test_fast_open_connection_stays_on_tcp_and_in_order(data_path: DataPath) -> None:
    """The server's socket is established before its client's, so it finds no enrolled peer."""
    pod = data_path.add_pod("pod")
    data_path.accelerate()
    assert run_in(pod, FAST_OPEN, pod.ipv4) == ["early ", "early later", "answer"]
    assert data_path.count(Verdict.ENROL_SKIP_PEER_NOT_ENROLLED) == 1
    assert data_path.count(Verdict.SEND_TCP_NO_PEER) == 1
    assert redirected(data_path) == 0


def test_fast_open_to_a_captured_destination_reaches_the_proxy(data_path: DataPath) -> None:
    client = data_path.add_pod("client")
    asked = data_path.capture("10.96.0.10", 80)
    data_path.accelerate()
    with data_path.proxy.listen() as listener:
        assert tuple(run_in(client, FAST_OPEN_TO, *asked)) == asked
        with listener.accept()[0] as accepted:
            assert original_destination(accepted) == asked
            assert read_exactly(accepted, 5) == b"early"


def test_proxy_that_takes_data_in_the_first_packet_knows_no_destination(
    data_path: DataPath,
) -> None:
    """It is established before its client, which has handed nothing over by then.

    Envoy does so only if told to, and Culvert does not tell it to. Such a connection is refused for
    want of a destination, never sent to a wrong one.
    """
    client = data_path.add_pod("client")
    asked = data_path.capture("10.96.0.10", 80)
    data_path.accelerate()
    node = data_path.node
    argv = ["sh", "-c", "echo 3 >/proc/sys/net/ipv4/tcp_fastopen"]
    assert process.start(argv, netns=node.netns, cgroup=node.proxy_cgroup).wait(10) == 0
    with data_path.proxy.listen() as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
        listener.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1)
        run_in(client, FAST_OPEN_TO, *asked)
        with listener.accept()[0] as accepted, pytest.raises(FileNotFoundError):
            original_destination(accepted)
    assert data_path.count(Verdict.HANDOFF_MISSING) == 1


def test_deferred_accept_keeps_the_order_and_is_accelerated_then(data_path: DataPath) -> None:
    """TCP_DEFER_ACCEPT: the server's socket comes into being with the first bytes."""
    client_pod, server_pod = data_path.add_pod("client"), data_path.add_pod("server")
    data_path.accelerate()
    with server_pod.listen((server_pod.ipv4, 0)) as listener:
        listener.settimeout(10)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 10)
        with client_pod.connect(listener.getsockname()) as client:
            client.sendall(b"one ")
            client.sendall(b"two ")
            server = listener.accept()[0]
            with server:
                server.settimeout(10)
                client.sendall(b"three")
                assert read_exactly(server, 13) == b"one two three"
                assert data_path.count(Verdict.SEND_TCP_NO_PEER) == 1
                server.sendall(SMALL)
                assert read_exactly(client, len(SMALL)) == SMALL
    assert redirected(data_path) > 0


def test_ipv4_connection_to_an_ipv6_listener_is_accelerated(data_path: DataPath) -> None:
    """Most servers listen on ``::`` for both families; their end has mapped addresses."""
    client_pod, server_pod = data_path.add_pod("client"), data_path.add_pod("server")
    data_path.accelerate()
    with server_pod.listen(("::", 0)) as listener:
        listener.settimeout(10)
        client = client_pod.connect((server_pod.ipv4, listener.getsockname()[1]))
        server = listener.accept()[0]
    with client, server:
        server.settimeout(10)
        assert server.getpeername()[0] == f"::ffff:{client_pod.ipv4}"
        client.sendall(SMALL)
        assert read_exactly(server, len(SMALL)) == SMALL
        server.sendall(SMALL)
        assert read_exactly(client, len(SMALL)) == SMALL
    assert redirected(data_path) == 2


def test_socket_connected_to_itself_is_not_enrolled(data_path: DataPath) -> None:
    """Its own entry would be that of its peer."""
    pod = data_path.add_pod("pod")
    data_path.accelerate()
    assert run_in(pod, TO_ITSELF, pod.ipv4) == "to itself"
    assert data_path.count(Verdict.ENROL_DONE) == 0
