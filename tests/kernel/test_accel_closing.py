"""R9, R12: ends of streams, resets, and taking the data path away under live connections."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable

import pytest
from culvert.redirect.removal import remove_data_path

from tests.kernel.accelerated import SMALL, enrolled_pair, plain_pair, read_exactly, redirected
from tests.kernel.data_path import DataPath

pytestmark = pytest.mark.kernel

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, of no seconds: close() sends a reset."""

Pairs = Callable[[DataPath], tuple[socket.socket, socket.socket]]
on_either = pytest.mark.parametrize("pairs", [plain_pair, enrolled_pair])
"""For claims that hold of plain connections and must hold of accelerated ones."""


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
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        with pytest.raises(ConnectionResetError):
            server.recv(1)


@on_either
def test_bytes_unread_at_a_reset_are_read_before_the_error(
    data_path: DataPath, pairs: Pairs
) -> None:
    client, server = pairs(data_path)
    poller = select.poll()
    with server:
        client.sendall(SMALL)
        poller.register(server, select.POLLIN)
        assert poller.poll(10_000)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        poller.modify(server, 0)
        assert poller.poll(10_000) == [(server.fileno(), select.POLLERR | select.POLLHUP)]
        assert read_exactly(server, len(SMALL)) == SMALL
        with pytest.raises(ConnectionResetError):
            server.recv(1)
        assert server.recv(1) == b""


@on_either
def test_every_send_after_a_reset_fails(data_path: DataPath, pairs: Pairs) -> None:
    client, server = pairs(data_path)
    poller = select.poll()
    with client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        server.close()
        poller.register(client, 0)
        assert poller.poll(10_000)
        for _ in range(3):
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                client.send(SMALL)


@on_either
def test_shut_read_side_ends_only_when_what_came_was_read(
    data_path: DataPath, pairs: Pairs
) -> None:
    """Linux goes on to receive after SHUT_RD, see tcp(7); reads never wait any more."""
    client, server = pairs(data_path)
    with client, server:
        client.sendall(SMALL)
        assert select.select([server], [], [], 10)[0] == [server]
        server.shutdown(socket.SHUT_RD)
        assert read_exactly(server, len(SMALL)) == SMALL
        assert server.recv(1) == b""


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
