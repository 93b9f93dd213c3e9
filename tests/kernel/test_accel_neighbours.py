"""R16, R18: sockets that are not plain TCP, and other programs on the same sockets."""

from __future__ import annotations

import socket

import pytest
from culvert.model.redirect import LocalFlag
from culvert.redirect.abi import Verdict
from culvert.redirect.attach import attach, attach_sk_msg
from culvert.redirect.encode import encode_table
from culvert.redirect.kernel import KernelMaps
from culvert.redirect.plan import diff

from tests.kernel.accelerated import SMALL, enrolled_pair, read_exactly
from tests.kernel.data_path import DataPath, Loaded, original_destination, run_in

pytestmark = pytest.mark.kernel

IPPROTO_MPTCP = 262

MPTCP = """
import json, socket, sys
address, listening, connecting = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
listener = socket.socket(family, socket.SOCK_STREAM, listening)
listener.bind((address, 0))
listener.listen()
client = socket.socket(family, socket.SOCK_STREAM, connecting)
client.connect(listener.getsockname())
server = listener.accept()[0]
client.settimeout(10)
server.settimeout(10)
got = 0
for near, far in ((client, server), (server, client)) * 50:
    near.sendall(b"x" * 1000)
    need = 1000
    while need:
        part = len(far.recv(need))
        need -= part
        got += part
client.close()
ended = server.recv(1) == b""
print(json.dumps([got, ended, server.getsockname()[0]]))
"""

MPTCP_CONNECT = """
import json, socket, sys
made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
made.settimeout(3)
try:
    made.connect((sys.argv[1], int(sys.argv[2])))
    print(json.dumps("connected"))
except OSError as error:
    print(json.dumps(type(error).__name__))
"""


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("listening", [IPPROTO_MPTCP, socket.IPPROTO_TCP], ids=["mptcp", "tcp"])
def test_mptcp_client_works_and_is_never_enrolled(
    data_path: DataPath, listening: int, ipv6: bool
) -> None:
    """Also where the server speaks plain TCP and the connection falls back to it."""
    pod = data_path.add_pod("pod")
    own = pod.ipv6 if ipv6 else pod.ipv4
    data_path.accelerate()
    assert run_in(pod, MPTCP, own, listening, IPPROTO_MPTCP) == [100_000, True, own]
    assert data_path.count(Verdict.ENROL_SKIP_MPTCP) == 1
    assert data_path.count(Verdict.ENROL_DONE) == 0
    assert data_path.count(Verdict.SEND_REDIRECTED) == 0


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_plain_client_of_an_mptcp_listener_is_accelerated(data_path: DataPath, ipv6: bool) -> None:
    """Go's listeners are MPTCP by default. What they accept from a plain client is a plain socket,
    which the kernel must recognise as one with the sockhash's hooks already on it."""
    pod = data_path.add_pod("pod")
    own = pod.ipv6 if ipv6 else pod.ipv4
    data_path.accelerate()
    assert run_in(pod, MPTCP, own, IPPROTO_MPTCP, socket.IPPROTO_TCP) == [100_000, True, own]
    assert data_path.count(Verdict.ENROL_DONE) == 2
    assert data_path.count(Verdict.SEND_REDIRECTED) == 100


def test_mptcp_connect_is_captured_like_any_other(data_path: DataPath) -> None:
    client, server = data_path.add_pod("client"), data_path.add_pod("server")
    asked = data_path.capture(server.ipv4, 8080)
    data_path.accelerate()
    with data_path.proxy.listen() as listener:
        assert run_in(client, MPTCP_CONNECT, *asked) == "connected"
        with listener.accept()[0] as accepted:
            assert original_destination(accepted) == asked
    assert data_path.count(Verdict.CONNECT_REDIRECTED) == 1
    assert data_path.count(Verdict.SEND_REDIRECTED) == 0


def test_second_sockhash_on_the_same_sockets_is_refused_and_bytes_arrive(
    data_path: DataPath, small_loaded: Loaded
) -> None:
    client_pod, server_pod = data_path.add_pod("client"), data_path.add_pod("server")
    links = small_loaded.root / f"links-second-{client_pod.uid[:8]}"
    data_path.accelerate()
    with KernelMaps(small_loaded.maps) as second:
        second.apply(diff(second.read(), encode_table(data_path.config, data_path.table)))
        before = second.tallies()
        attach_sk_msg(small_loaded.programs, small_loaded.maps)
        attach(small_loaded.programs, links, data_path.hooks)
        try:
            client, server = data_path.pair(client_pod, server_pod)
            with client, server:
                for _ in range(20):
                    client.sendall(SMALL)
                    assert read_exactly(server, len(SMALL)) == SMALL
            skipped = Verdict.ENROL_SKIP_SOCKHASH_FULL
            in_second = second.tallies()[skipped].count - before[skipped].count
            assert data_path.count(skipped) + in_second > 0
        finally:
            for pin in links.iterdir():
                pin.unlink()
            links.rmdir()
            second.apply(diff(second.read(), {}))


def test_ipv6_connection_is_accelerated_alike(data_path: DataPath) -> None:
    client_pod, server_pod = data_path.add_pod("client"), data_path.add_pod("server")
    data_path.accelerate()
    client, server = data_path.pair(client_pod, server_pod, socket.AF_INET6)
    with client, server:
        client.sendall(SMALL)
        assert read_exactly(server, len(SMALL)) == SMALL
    assert data_path.count(Verdict.SEND_REDIRECTED) == 1


def test_pod_that_declines_is_not_enrolled(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    client.close()
    server.close()
    plain = data_path.add_pod("plain", local=LocalFlag.NONE)
    data_path.apply()
    done = data_path.count(Verdict.ENROL_DONE)
    client, server = data_path.pair(plain, data_path.pods["server"])
    with client, server:
        client.sendall(SMALL)
        assert read_exactly(server, len(SMALL)) == SMALL
    assert data_path.count(Verdict.ENROL_DONE) == done
