"""R7, R24, R25: the less common ways to send and to receive on an enrolled socket."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.kernel.accelerated import SMALL, enrolled_pair, read_exactly, redirected
from tests.kernel.data_path import DataPath

pytestmark = pytest.mark.kernel

SO_ZEROCOPY = 60
MSG_ZEROCOPY = 0x4000000


def test_sendfile_arrives_whole(data_path: DataPath, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "file").write_bytes(content)
    client, server = enrolled_pair(data_path)
    with client, server, (tmp_path / "file").open("rb") as file:
        sender = threading.Thread(target=lambda: client.sendfile(file))
        sender.start()
        assert read_exactly(server, len(content)) == content
        sender.join()


def test_splice_from_an_enrolled_socket_reads_no_redirected_bytes(data_path: DataPath) -> None:
    """A limit of the kernel: splice(2) sees the TCP queue alone. The bytes stay readable."""
    client, server = enrolled_pair(data_path)
    read_fd, write_fd = os.pipe()
    with client, server:
        client.sendall(SMALL)
        with pytest.raises(BlockingIOError):
            os.splice(server.fileno(), write_fd, len(SMALL), flags=os.SPLICE_F_NONBLOCK)
        assert read_exactly(server, len(SMALL)) == SMALL
    os.close(read_fd)
    os.close(write_fd)


def test_peek_takes_nothing_on_either_path(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path, max_redirect_bytes=len(SMALL))
    with client, server:
        client.sendall(SMALL)
        assert server.recv(len(SMALL), socket.MSG_PEEK) == SMALL
        assert server.recv(len(SMALL), socket.MSG_PEEK) == SMALL
        client.sendall(SMALL * 2)
        assert read_exactly(server, 3 * len(SMALL)) == SMALL * 3
    assert redirected(data_path) == 1


def test_waitall_over_redirected_writes_returns_the_bytes_in_order(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client, server:
        for _ in range(4):
            client.sendall(SMALL)
        first = server.recv(4 * len(SMALL), socket.MSG_WAITALL)
        rest = read_exactly(server, 4 * len(SMALL) - len(first))
        assert first + rest == SMALL * 4


def test_blocking_read_after_a_signal_is_as_the_self_test_reported(data_path: DataPath) -> None:
    """R24: where the kernel fails it, a blocking read gets EAGAIN; the bytes are not lost."""
    passed = {case.name: case.passed for case in data_path.loaded.report.self_test}
    client, server = enrolled_pair(data_path)
    server.settimeout(None)
    previous = signal.signal(signal.SIGALRM, lambda _number, _frame: None)
    sender = threading.Timer(0.4, client.sendall, (SMALL,))
    try:
        with client, server:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            sender.start()
            if not passed["interrupted-read"]:
                with pytest.raises(BlockingIOError):
                    server.recv(len(SMALL))
            assert read_exactly(server, len(SMALL)) == SMALL
            sender.join()
    finally:
        signal.signal(signal.SIGALRM, previous)


def test_receive_timeout_is_an_ordinary_timeout(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client, server:
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.recv(1)


def test_low_water_mark_does_not_hide_redirected_bytes_for_ever(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client, server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(SMALL))
        client.sendall(SMALL)
        assert select.select([server], [], [], 10)[0] == [server]
        assert read_exactly(server, len(SMALL)) == SMALL


def test_zerocopy_send_arrives_whole(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client, server:
        client.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        assert client.send(SMALL, MSG_ZEROCOPY) == len(SMALL)
        assert read_exactly(server, len(SMALL)) == SMALL


def test_urgent_byte_does_not_disturb_the_stream(data_path: DataPath) -> None:
    """A limit of the kernel: on an enrolled socket MSG_OOB sends an ordinary byte."""
    client, server = enrolled_pair(data_path)
    with client, server:
        client.sendall(b"before")
        client.send(b"!", socket.MSG_OOB)
        client.sendall(b"after")
        assert read_exactly(server, 12) == b"before!after"


def test_sends_on_two_gibibytes_and_more_never_stall(data_path: DataPath) -> None:
    """R8: a counter of 31 bits in an example that others copied stalled there."""
    client, server = enrolled_pair(data_path)
    total, chunk = (2 << 30) + (64 << 20), bytes(1 << 18)

    def send() -> None:
        for _ in range(total // len(chunk)):
            client.sendall(chunk)

    with client, server:
        sender = threading.Thread(target=send)
        sender.start()
        buffer = bytearray(1 << 20)
        left = total
        while left:
            count = server.recv_into(buffer)
            assert count, f"the stream ended {left} bytes early"
            left -= count
        sender.join()


def test_nonblocking_read_of_nothing_says_so(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client, server:
        server.setblocking(False)
        with pytest.raises(BlockingIOError) as caught:
            server.recv(1)
        assert caught.value.errno == errno.EAGAIN
