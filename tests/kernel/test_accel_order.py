"""R1, R2, R10, R20: bytes are read in the order they were written, whatever path each took."""

from __future__ import annotations

import os
import random
import socket
import struct
from pathlib import Path

import pytest
from culvert.redirect.abi import Verdict
from culvert.redirect.syscall import Map

from tests.kernel.accelerated import SMALL, enrolled_pair, read_exactly, redirected
from tests.kernel.data_path import DataPath

pytestmark = pytest.mark.kernel


def test_bytes_under_way_by_tcp_are_not_overtaken(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client, server:
        data_path.accelerate(accelerate=False)
        client.sendall(b"first by TCP, unread. ")
        data_path.accelerate(accelerate=True)
        client.sendall(b"second, not redirected. ")
        assert data_path.count(Verdict.SEND_REDIRECTED) == 0
        assert read_exactly(server, 46) == b"first by TCP, unread. second, not redirected. "
        client.sendall(b"third")
        assert read_exactly(server, 5) == b"third"


def test_mixed_paths_keep_the_order(data_path: DataPath) -> None:
    rng = random.Random(7)
    block = os.urandom(1 << 16)
    client, server = enrolled_pair(data_path, max_redirect_bytes=4096)
    with client, server:
        pending = b""
        for _ in range(400):
            size = rng.choice((1, 100, 4096, 5000, 40000))
            start = rng.randrange(len(block) - size)
            client.sendall(block[start : start + size])
            pending += block[start : start + size]
            if rng.random() < 0.6 or len(pending) > 200_000:
                assert read_exactly(server, len(pending)) == pending
                pending = b""
        assert read_exactly(server, len(pending)) == pending
    assert redirected(data_path) > 0
    assert data_path.count(Verdict.SEND_TCP_LARGE) > 0
    assert data_path.count(Verdict.SEND_TCP_PEER_UNREAD) > 0


def test_server_that_speaks_first_is_read_first(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client, server:
        server.sendall(b"220 ready")
        client.sendall(b"HELO")
        assert read_exactly(client, 9) == b"220 ready"
        assert read_exactly(server, 4) == b"HELO"
    assert redirected(data_path) == 2


def test_data_sent_before_accept_is_read_after_it(data_path: DataPath) -> None:
    client_pod, server_pod = data_path.add_pod("client"), data_path.add_pod("server")
    data_path.accelerate()
    with server_pod.listen((server_pod.ipv4, 0)) as listener:
        client = client_pod.connect(listener.getsockname())
        client.sendall(SMALL)
        server = listener.accept()[0]
        with client, server:
            server.settimeout(10)
            assert read_exactly(server, len(SMALL)) == SMALL
    assert redirected(data_path) == 1


def test_peer_that_left_the_maps_gets_its_bytes_by_tcp(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client, server:
        peers = Map(str(Path(data_path.maps.directory) / "cv_peers"))
        try:
            for key in list(peers.keys()):
                peers.delete(key)
        finally:
            peers.close()
        client.sendall(SMALL)
        assert read_exactly(server, len(SMALL)) == SMALL
    assert data_path.count(Verdict.SEND_TCP_NO_PEER) == 1
    assert redirected(data_path) == 0


def test_port_that_is_reused_at_once_reaches_the_new_connection(data_path: DataPath) -> None:
    client_pod, server_pod = data_path.add_pod("client"), data_path.add_pod("server")
    data_path.accelerate()
    with server_pod.listen((server_pod.ipv4, 0)) as listener:
        listener.settimeout(10)
        for number in range(50):
            client = client_pod.connect(listener.getsockname(), bind=(client_pod.ipv4, 45000))
            server = listener.accept()[0]
            server.settimeout(10)
            text = f"connection {number}".encode()
            client.sendall(text)
            assert read_exactly(server, len(text)) == text
            # An RST, so that neither side keeps the ports in TIME_WAIT.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            server.close()
    assert redirected(data_path) == 50


def test_same_loopback_ports_in_two_pods_never_meet(data_path: DataPath) -> None:
    data_path.accelerate()
    ends = []
    for name in ("one", "two"):
        pod = data_path.add_pod(name)
        listener = pod.listen(("127.0.0.1", 7000))
        cookie = int.from_bytes(listener.getsockopt(socket.SOL_SOCKET, 71, 8), "little")
        data_path.maps.accelerate_loopback(cookie)
        client = pod.connect(("127.0.0.1", 7000), bind=("127.0.0.1", 40000))
        server = listener.accept()[0]
        server.settimeout(10)
        listener.close()
        ends.append((name.encode() * 10, client, server))
    for text, client, _ in ends:
        client.sendall(text)
    for text, client, server in ends:
        assert read_exactly(server, len(text)) == text
        client.close()
        server.close()
    assert redirected(data_path) == 2
