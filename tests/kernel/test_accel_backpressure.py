"""R3, R11: a reader that stops reading slows its sender down, and nobody else."""

from __future__ import annotations

import hashlib
import select
import socket

import pytest
from culvert.model.settings import Settings
from culvert.redirect.abi import Verdict

from tests.kernel.accelerated import (
    SMALL,
    enrolled_pair,
    read_exactly,
    receive_memory_bytes,
    redirected,
)
from tests.kernel.data_path import DataPath

pytestmark = pytest.mark.kernel

BUDGET_BYTES = Settings().receive_budget_bytes
CHUNK = bytes(range(256)) * 64


def fill(sender: socket.socket) -> tuple[int, str]:
    """Send until the kernel says to wait; returns the bytes taken and their digest."""
    sender.setblocking(False)
    digest, sent = hashlib.sha256(), 0
    while True:
        try:
            count = sender.send(CHUNK)
        except BlockingIOError:  # EAGAIN; ENOMEM or EPIPE would be another exception
            return sent, digest.hexdigest()
        digest.update(CHUNK[:count])
        sent += count
        assert sent < 256 << 20, "the sender was never told to wait"


def test_stopped_reader_is_held_at_the_budget_and_tcp_windows(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path, budget_bytes=BUDGET_BYTES)
    with client, server:
        sent, digest = fill(client)
        by_redirect = data_path.bytes_of(Verdict.SEND_REDIRECTED)
        held = receive_memory_bytes(server)
        windows = server.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) + client.getsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF
        )
        print(
            f"budget {BUDGET_BYTES:,}, TCP buffers {windows:,}: {sent:,} bytes taken, of these "
            f"{by_redirect:,} redirected; receive memory {held:,}"
        )
        # One send may pass the budget by its own size; a send is at most one message of pages.
        assert by_redirect <= BUDGET_BYTES + len(CHUNK)
        assert sent - by_redirect <= windows
        assert held <= BUDGET_BYTES + len(CHUNK) + windows
        server.settimeout(10)
        assert hashlib.sha256(read_exactly(server, sent)).hexdigest() == digest


def test_stream_goes_on_by_redirect_after_the_reader_caught_up(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client, server:
        sent, _ = fill(client)
        server.settimeout(10)
        read_exactly(server, sent)
        client.setblocking(True)
        before = redirected(data_path)
        for _ in range(20):
            client.sendall(SMALL)
            assert read_exactly(server, len(SMALL)) == SMALL
        assert redirected(data_path) > before


def test_stopped_reader_does_not_hold_up_other_connections(data_path: DataPath) -> None:
    stuck, silent = enrolled_pair(data_path)
    client, server = enrolled_pair(data_path)
    with stuck, silent, client, server:
        fill(stuck)
        before = redirected(data_path)
        for _ in range(200):
            client.sendall(SMALL)
            assert read_exactly(server, len(SMALL)) == SMALL
        assert redirected(data_path) == before + 200


def test_blocking_sender_waits_and_times_out_as_over_tcp(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client, server:
        fill(client)
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.sendall(CHUNK * 1024)


def test_writable_event_comes_when_the_reader_reads_again(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client, server:
        sent, _ = fill(client)
        poller = select.poll()
        poller.register(client, select.POLLOUT)
        assert poller.poll(0) == []
        server.settimeout(10)
        read_exactly(server, sent)
        assert poller.poll(10_000)
