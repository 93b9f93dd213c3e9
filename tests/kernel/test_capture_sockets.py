"""Kinds of sockets and of connect() calls that applications use, each made inside the pod."""

from __future__ import annotations

import errno
import socket

import pytest
from culvert.model.redirect import ProxyListener
from culvert.redirect.abi import Verdict

from tests.kernel.data_path import DataPath, original_destination, run_in

pytestmark = pytest.mark.kernel

SERVICE = "10.96.0.10"


def test_mapped_address_on_an_ipv6_socket_is_captured_as_ipv4(data_path: DataPath) -> None:
    client = data_path.add_pod("client")
    asked = data_path.capture(SERVICE, 80)
    data_path.apply()
    source = """
import json, socket, sys
made = socket.socket(socket.AF_INET6)
made.connect(("::ffff:" + sys.argv[1], 80))
print(json.dumps(made.getpeername()[:2]))
"""
    with data_path.proxy.listen() as listener:
        seen = run_in(client, source, SERVICE)
        with listener.accept()[0] as accepted:
            assert original_destination(accepted) == asked
    assert seen == [f"::ffff:{SERVICE}", 80]


def test_nonblocking_connect_is_captured(data_path: DataPath) -> None:
    client = data_path.add_pod("client")
    asked = data_path.capture(SERVICE, 80)
    data_path.apply()
    source = """
import json, select, socket, sys
made = socket.socket()
made.setblocking(False)
first = made.connect_ex((sys.argv[1], 80))
select.select([], [made], [], 10)
print(json.dumps([first, made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), made.getpeername()]))
"""
    with data_path.proxy.listen() as listener:
        first, error, peer = run_in(client, source, SERVICE)
        with listener.accept()[0] as accepted:
            assert original_destination(accepted) == asked
    assert (first, error, tuple(peer)) == (errno.EINPROGRESS, 0, asked)


def test_udp_to_a_captured_destination_is_untouched(data_path: DataPath) -> None:
    client, server = data_path.add_pod("client"), data_path.add_pod("server")
    with server.socket(kind=socket.SOCK_DGRAM) as receiver:
        receiver.bind((server.ipv4, 0))
        receiver.settimeout(10)
        asked = data_path.capture(server.ipv4, receiver.getsockname()[1])
        data_path.apply()
        source = """
import json, socket, sys
made = socket.socket(type=socket.SOCK_DGRAM)
made.connect((sys.argv[1], int(sys.argv[2])))
made.send(b"by connect")
socket.socket(type=socket.SOCK_DGRAM).sendto(b"by sendto", made.getpeername())
print(json.dumps(made.getpeername()))
"""
        assert tuple(run_in(client, source, *asked)) == asked
        received = {receiver.recv(100), receiver.recv(100)}
    assert received == {b"by connect", b"by sendto"}
    assert data_path.count(Verdict.CONNECT_REDIRECTED) == 0
    assert data_path.count(Verdict.CONNECT_PASS_NOT_TCP) == 1


def test_socket_whose_captured_connect_failed_can_connect_elsewhere(data_path: DataPath) -> None:
    """What was saved for the first attempt must not leak into the second."""
    client, server = data_path.add_pod("client"), data_path.add_pod("server")
    data_path.capture(SERVICE, 80)
    data_path.apply()
    source = """
import json, socket, sys
made = socket.socket()
first = made.connect_ex((sys.argv[1], 80))
second = made.connect_ex((sys.argv[2], int(sys.argv[3])))
print(json.dumps([first, second, made.getpeername()]))
"""
    with server.listen((server.ipv4, 0)) as listener:
        elsewhere = listener.getsockname()
        first, second, peer = run_in(client, source, SERVICE, *elsewhere)
    assert (first, second, tuple(peer)) == (errno.ECONNREFUSED, 0, elsewhere)
    assert data_path.count(Verdict.HANDOFF_STORED) == 0


def test_socket_is_captured_anew_after_its_captured_connect_failed(data_path: DataPath) -> None:
    client = data_path.add_pod("client")
    data_path.capture(SERVICE, 80, ProxyListener.SERVICE_HTTP)
    asked = data_path.capture("10.96.0.11", 81, ProxyListener.SERVICE_TCP)
    data_path.apply()
    source = """
import json, socket, sys
made = socket.socket()
first = made.connect_ex((sys.argv[1], 80))
made.connect((sys.argv[2], int(sys.argv[3])))
print(json.dumps([first, made.getpeername()]))
"""
    with data_path.proxy.listen(ProxyListener.SERVICE_TCP) as listener:
        first, peer = run_in(client, source, SERVICE, *asked)
        with listener.accept()[0] as accepted:
            assert original_destination(accepted) == asked
    assert (first, tuple(peer)) == (errno.ECONNREFUSED, asked)
