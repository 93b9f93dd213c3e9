"""R9, R20, R24, R25: what the kernel does otherwise on enrolled sockets than on plain ones.

Nothing of it can be changed by the programs. Each test shows both, so that a kernel that behaves
better is noticed; the consequences are in docs/data-path.md.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import threading

import pytest
from culvert.redirect.abi import Verdict

from tests.kernel.accelerated import (
    SMALL,
    enrolled_pair,
    plain_pair,
    read_exactly,
    redirected,
    unread_bytes,
)
from tests.kernel.data_path import DataPath

pytestmark = pytest.mark.kernel

SO_TIMESTAMP = 29
SO_ZEROCOPY = 60
MSG_ZEROCOPY = 0x4000000
TCP_INQ = 36
TCP_INFO_BYTES_RECEIVED = 128
"""Offset of ``tcpi_bytes_received`` in ``struct tcp_info`` (``linux/tcp.h``), 64 bits."""


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


def discard(end: socket.socket, size: int) -> int:
    """Have the kernel throw bytes away unread (MSG_TRUNC with no buffer, see tcp(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.recv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    libc.recv.restype = ctypes.c_ssize_t
    count = int(libc.recv(end.fileno(), None, size, socket.MSG_TRUNC))
    if count < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return count


def test_redirected_bytes_cannot_be_discarded_unread(data_path: DataPath) -> None:
    """Those who measure throughput without copying get EFAULT; the bytes stay."""
    client, server = plain_pair(data_path)
    with client, server:
        client.sendall(SMALL)
        assert select.select([server], [], [], 10)[0] == [server]
        assert discard(server, 10) == 10
        assert read_exactly(server, len(SMALL) - 10) == SMALL[10:]
    client, server = enrolled_pair(data_path)
    with client, server:
        client.sendall(SMALL)
        with pytest.raises(OSError, match="Bad address"):
            discard(server, 10)
        assert read_exactly(server, len(SMALL)) == SMALL


def unread_byte_count_in_ancillary_data(pair: tuple[socket.socket, socket.socket]) -> int | None:
    """What TCP_INQ says is left after reading ten bytes; None: nothing."""
    client, server = pair
    with client, server:
        server.setsockopt(socket.IPPROTO_TCP, TCP_INQ, 1)
        client.sendall(SMALL)
        assert select.select([server], [], [], 10)[0] == [server]
        for _, kind, data in server.recvmsg(10, 100)[1]:
            if kind == TCP_INQ:
                return int(struct.unpack("i", data)[0])
        return None


def test_read_of_redirected_bytes_does_not_say_what_is_left(data_path: DataPath) -> None:
    """Readers that find no TCP_INQ try again, as on kernels that do not know it."""
    assert unread_byte_count_in_ancillary_data(plain_pair(data_path)) == len(SMALL) - 10
    assert unread_byte_count_in_ancillary_data(enrolled_pair(data_path)) is None


def disconnect(end: socket.socket) -> None:
    """connect() to AF_UNSPEC, which makes a connected socket an unconnected one."""
    assert ctypes.CDLL(None).connect(end.fileno(), struct.pack("=H14x", socket.AF_UNSPEC), 16) == 0


def first_bytes_on_a_second_connection(
    data_path: DataPath, pair: tuple[socket.socket, socket.socket]
) -> bytes:
    """What a socket reads that left bytes unread, disconnected and connected anew."""
    client, server = pair
    pod = data_path.pods["server"]
    with client, server, pod.listen((pod.ipv4, 0)) as listener:
        listener.settimeout(10)
        server.sendall(b"of the first")
        assert select.select([client], [], [], 10)[0] == [client]
        disconnect(client)
        client.connect(listener.getsockname())
        with listener.accept()[0] as second:
            second.sendall(b"of the second")
            second.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(100), b""))


def test_socket_connected_anew_still_reads_what_was_redirected_before(data_path: DataPath) -> None:
    """The kernel keeps them for the socket, not for the connection; no other socket gets them."""
    plain = first_bytes_on_a_second_connection(data_path, plain_pair(data_path))
    assert plain == b"of the second"
    enrolled = first_bytes_on_a_second_connection(data_path, enrolled_pair(data_path))
    assert enrolled == b"of the firstof the second"


def test_socket_connected_anew_stays_on_tcp(data_path: DataPath) -> None:
    """Its first enrolment is in the way of a second one."""
    client, server = enrolled_pair(data_path)
    with client, server:
        disconnect(client)
        pod = data_path.pods["server"]
        with pod.listen((pod.ipv4, 0)) as listener:
            listener.settimeout(10)
            client.connect(listener.getsockname())
            second = listener.accept()[0]
        with second:
            client.sendall(SMALL)
            assert read_exactly(second, len(SMALL)) == SMALL
            second.sendall(SMALL)
            assert read_exactly(client, len(SMALL)) == SMALL
    assert data_path.count(Verdict.ENROL_SKIP_SOCKHASH_FULL) == 1
    assert redirected(data_path) == 0
