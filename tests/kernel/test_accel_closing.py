"""R9, R12: ends of streams, resets, and taking the data path away under live connections."""

from __future__ import annotations

import socket
import struct

import pytest
from culvert.redirect.removal import remove_data_path

from tests.kernel.accelerated import SMALL, enrolled_pair, read_exactly, redirected
from tests.kernel.data_path import DataPath

pytestmark = pytest.mark.kernel


def test_each_direction_closes_by_itself(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client, server:
        client.sendall(SMALL)
        client.shutdown(socket.SHUT_WR)
        assert read_exactly(server, len(SMALL)) == SMALL
        assert server.recv(1) == b""
        server.sendall(SMALL)
        server.shutdown(socket.SHUT_WR)
        assert read_exactly(client, len(SMALL)) == SMALL
        assert client.recv(1) == b""
    assert redirected(data_path) == 2


def test_bytes_redirected_before_close_are_read_before_the_end(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with server:
        client.sendall(SMALL)
        client.close()
        assert read_exactly(server, len(SMALL)) == SMALL
        assert server.recv(1) == b""


def test_peer_that_closed_is_an_ordinary_error_to_the_sender(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client:
        server.close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            client.sendall(SMALL * 100_000)


def test_reset_reaches_a_waiting_reader(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with server:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with pytest.raises(ConnectionResetError):
            server.recv(1)


def test_shut_read_side_does_not_break_the_other_direction(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client, server:
        client.shutdown(socket.SHUT_RD)
        client.sendall(SMALL)
        assert read_exactly(server, len(SMALL)) == SMALL


def test_uninstall_loses_no_unread_byte_and_connections_go_on(own_data_path: DataPath) -> None:
    client, server = enrolled_pair(own_data_path)
    with client, server:
        client.sendall(SMALL)
        assert redirected(own_data_path) == 1
        own_data_path.detach()
        remove_data_path(own_data_path.loaded.root)
        assert not own_data_path.loaded.root.exists()
        client.sendall(b"after")
        assert read_exactly(server, len(SMALL) + 5) == SMALL + b"after"
        server.sendall(SMALL)
        assert read_exactly(client, len(SMALL)) == SMALL


def test_programs_replaced_under_traffic_lose_nothing(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client, server:
        for _ in range(20):
            client.sendall(SMALL)
            data_path.attach()
            assert read_exactly(server, len(SMALL)) == SMALL
