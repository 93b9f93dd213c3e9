"""Removal under live connections: they go on, and new ones are left alone."""

from __future__ import annotations

import os
import socket
import threading

import pytest
from culvert.redirect.abi import Verdict
from culvert.redirect.removal import remove_data_path

from tests.kernel.data_path import DataPath, peer_of

pytestmark = pytest.mark.kernel


def read_exactly(end: socket.socket, wanted: int) -> bytes:
    """Read so many bytes. MSG_WAITALL would not do: sockets of a sockhash come back early."""
    parts = bytearray()
    while len(parts) < wanted:
        part = end.recv(wanted - len(parts))
        assert part, f"the stream ended after {len(parts)} of {wanted} bytes"
        parts += part
    return bytes(parts)


def echoes(near: socket.socket, far: socket.socket) -> bool:
    """Whether bytes arrive, both ways."""
    near.sendall(b"there")
    arrived = read_exactly(far, 5)
    far.sendall(b"back")
    return (arrived, read_exactly(near, 4)) == (b"there", b"back")


def test_captured_connection_goes_on(own_data_path: DataPath) -> None:
    client = own_data_path.add_pod("client")
    asked = own_data_path.capture("10.96.0.10", 80)
    own_data_path.apply()
    with (
        own_data_path.proxy.listen() as listener,
        client.connect(asked) as connection,
        listener.accept()[0] as accepted,
    ):
        assert echoes(connection, accepted)
        remove_data_path(own_data_path.loaded.root)
        assert echoes(connection, accepted)


def test_accelerated_connection_goes_on_by_tcp_with_no_byte_out_of_place(
    own_data_path: DataPath,
) -> None:
    """Bytes that were redirected and not yet read come before those that follow by TCP."""
    client, server = own_data_path.add_pod("client"), own_data_path.add_pod("server")
    own_data_path.accelerate()
    near, far = own_data_path.pair(client, server)
    before, after = os.urandom(50_000), os.urandom(50_000)
    with near, far:
        near.sendall(before)
        assert own_data_path.count(Verdict.SEND_REDIRECTED) == 1
        remove_data_path(own_data_path.loaded.root)
        near.sendall(after)
        assert own_data_path.count(Verdict.SEND_REDIRECTED) == 1
        assert read_exactly(far, 100_000) == before + after
        assert echoes(near, far)
        near.shutdown(socket.SHUT_WR)
        assert far.recv(1) == b""


def test_stream_under_way_stays_whole(own_data_path: DataPath) -> None:
    client, server = own_data_path.add_pod("client"), own_data_path.add_pod("server")
    own_data_path.accelerate()
    near, far = own_data_path.pair(client, server)
    chunks = [os.urandom(1 + index * 37 % 9000) for index in range(3000)]
    wanted = b"".join(chunks)
    received = bytearray()
    half_sent = threading.Event()

    def send() -> None:
        for index, chunk in enumerate(chunks):
            near.sendall(chunk)
            if index == len(chunks) // 2:
                half_sent.set()
        near.shutdown(socket.SHUT_WR)

    def receive() -> None:
        while part := far.recv(1 << 16):
            received.extend(part)

    threads = [threading.Thread(target=one) for one in (send, receive)]
    with near, far:
        for thread in threads:
            thread.start()
        assert half_sent.wait(30)
        remove_data_path(own_data_path.loaded.root)
        for thread in threads:
            thread.join(60)
    assert bytes(received) == wanted
    assert 0 < own_data_path.count(Verdict.SEND_REDIRECTED) < len(chunks)


def test_new_connection_is_left_alone(own_data_path: DataPath) -> None:
    client, server = own_data_path.add_pod("client"), own_data_path.add_pod("server")
    with server.listen((server.ipv4, 0)) as listener:
        asked = own_data_path.capture(*listener.getsockname())
        own_data_path.apply()
        remove_data_path(own_data_path.loaded.root)
        with own_data_path.proxy.listen(), client.connect(asked) as connection:
            listener.settimeout(10)
            with listener.accept()[0] as accepted:
                assert peer_of(accepted) == connection.getsockname()
    assert own_data_path.count(Verdict.CONNECT_REDIRECTED) == 0
