"""R9, R24, R25: what the kernel does otherwise on enrolled sockets than on plain ones.

Nothing of it can be changed by the programs. Each test shows both, so that a kernel that behaves
better is noticed; the consequences are in docs/data-path.md.
"""

from __future__ import annotations

import select
import socket
import struct
import threading

import pytest
from culvert.redirect.abi import Verdict

from tests.kernel.accelerated import SMALL, enrolled_pair, read_exactly, redirected, unread_bytes
from tests.kernel.data_path import DataPath

pytestmark = pytest.mark.kernel

SO_TIMESTAMP = 29
SO_ZEROCOPY = 60
MSG_ZEROCOPY = 0x4000000
TCP_INFO_BYTES_RECEIVED = 128
"""Offset of ``tcpi_bytes_received`` in ``struct tcp_info`` (``linux/tcp.h``), 64 bits."""


def plain_pair(data_path: DataPath) -> tuple[socket.socket, socket.socket]:
    """A (client, server) connection of the same pods, not enrolled."""
    client = data_path.pods.get("client") or data_path.add_pod("client")
    server = data_path.pods.get("server") or data_path.add_pod("server")
    data_path.apply()
    assert not data_path.config.accelerate
    return data_path.pair(client, server)


def after_close_with_bytes_unread(pair: tuple[socket.socket, socket.socket]) -> bytes | type:
    """What the client reads from a server that closed without reading what the client sent."""
    client, server = pair
    with client:
        client.sendall(SMALL)
        assert select.select([server], [], [], 10)[0] == [server]
        server.close()
        try:
            return client.recv(1)
        except OSError as error:
            return type(error)


def test_close_with_redirected_bytes_unread_is_an_end_and_no_reset(data_path: DataPath) -> None:
    """The sender is not told that its bytes were thrown away; over TCP it is (RFC 1122, 4.2.2.13).

    What it sends next still fails.
    """
    assert after_close_with_bytes_unread(plain_pair(data_path)) is ConnectionResetError
    assert after_close_with_bytes_unread(enrolled_pair(data_path)) == b""
    assert redirected(data_path) == 1


def zerocopy_completions(
    pair: tuple[socket.socket, socket.socket], sizes: tuple[int, ...]
) -> list[tuple[int, int]]:
    """Send so, and return the completed (first, last) once all was read and things went on."""
    client, server = pair
    found = []
    with client, server:
        client.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        for size in sizes:
            assert client.send(bytes(size), MSG_ZEROCOPY) == size
            read_exactly(server, size)
        for _ in range(20):
            server.sendall(b"?")
            read_exactly(client, 1)
            client.sendall(b"!")
            read_exactly(server, 1)
        client.setblocking(False)
        while True:
            try:
                (report,) = client.recvmsg(1, 512, socket.MSG_ERRQUEUE)[1]
            except BlockingIOError:
                return found
            # struct sock_extended_err: ee_info and ee_data are the first and the last send
            found.append(struct.unpack_from("=8xII", report[2]))


def test_redirected_zerocopy_send_never_completes(data_path: DataPath) -> None:
    """The bytes arrive, copied; a sender that waits for the completion waits for ever."""
    small, large = 100, 10_000
    assert zerocopy_completions(plain_pair(data_path), (small,)) == [(0, 0)]
    pair = enrolled_pair(data_path, max_redirect_bytes=small)
    assert zerocopy_completions(pair, (small,)) == []
    # Nor is it counted: of two sends the second one, by TCP, is reported as the first.
    pair = enrolled_pair(data_path, max_redirect_bytes=small)
    assert zerocopy_completions(pair, (small, large)) == [(0, 0)]


def read_all_of_two(pair: tuple[socket.socket, socket.socket]) -> int:
    """How much one MSG_WAITALL returns that asks for two writes, of which the second comes late."""
    client, server = pair
    with client, server:
        server.settimeout(None)
        client.sendall(SMALL)
        second = threading.Timer(1.0, client.sendall, (SMALL,))
        second.start()
        size = len(server.recv(2 * len(SMALL), socket.MSG_WAITALL))
        second.cancel()
        second.join()
        return size


def test_waitall_returns_with_what_was_redirected_so_far(data_path: DataPath) -> None:
    """Programs that take a short read of MSG_WAITALL for the end of the stream break."""
    assert read_all_of_two(plain_pair(data_path)) == 2 * len(SMALL)
    assert read_all_of_two(enrolled_pair(data_path)) == len(SMALL)


def test_low_water_mark_is_not_waited_for(data_path: DataPath) -> None:
    """Harmless: a reader wakes earlier than it asked for."""
    client, server = plain_pair(data_path)
    with client, server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 2 * len(SMALL))
        client.sendall(SMALL)
        while unread_bytes(server) < len(SMALL):
            pass
        assert select.select([server], [], [], 0)[0] == []
    client, server = enrolled_pair(data_path)
    with client, server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 2 * len(SMALL))
        client.sendall(SMALL)
        assert select.select([server], [], [], 10)[0] == [server]


def has_timestamp(client: socket.socket, server: socket.socket) -> bool:
    server.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)
    client.sendall(SMALL)
    received, control, _, _ = server.recvmsg(len(SMALL), 512)
    assert received == SMALL
    return bool(control)


def test_redirected_bytes_have_no_timestamp(data_path: DataPath) -> None:
    """No packet carried them."""
    plain_client, plain_server = plain_pair(data_path)
    with plain_client, plain_server:
        # The kernel begins to stamp packets some moments after the first socket asked for it.
        while not has_timestamp(plain_client, plain_server):
            pass
        client, server = enrolled_pair(data_path)
        with client, server:
            assert not has_timestamp(client, server)
        assert has_timestamp(plain_client, plain_server)


def bytes_in_tcp_info(pair: tuple[socket.socket, socket.socket]) -> int:
    client, server = pair
    with client, server:
        client.sendall(SMALL)
        read_exactly(server, len(SMALL))
        info = server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return int(struct.unpack_from("=Q", info, TCP_INFO_BYTES_RECEIVED)[0])


def test_redirected_bytes_are_in_our_counters_and_not_in_tcp_info(data_path: DataPath) -> None:
    """What ``ss -i`` shows of a connection is its TCP part alone."""
    assert bytes_in_tcp_info(plain_pair(data_path)) == len(SMALL)
    assert bytes_in_tcp_info(enrolled_pair(data_path)) == 0
    assert data_path.bytes_of(Verdict.SEND_REDIRECTED) == len(SMALL)


def test_receive_timeout_of_the_kernel_is_kept(data_path: DataPath) -> None:
    """SO_RCVTIMEO, which blocks in the kernel; what is sent afterwards is read."""
    client, server = enrolled_pair(data_path)
    with client, server:
        server.settimeout(None)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 100_000))
        with pytest.raises(BlockingIOError):
            server.recv(1)
        client.sendall(SMALL)
        assert read_exactly(server, len(SMALL)) == SMALL
