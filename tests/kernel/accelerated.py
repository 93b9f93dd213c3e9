"""What the tests of acceleration share: enrolled pairs, and reading what was sent."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import Any

from culvert.redirect.abi import Verdict

from tests.kernel.data_path import DataPath

SMALL = b"small " * 32
SO_MEMINFO = 55
"""``asm-generic/socket.h``: nine 32-bit values, the first is the memory allocated to receive."""


def enrolled_pair(data_path: DataPath, **settings: Any) -> tuple[socket.socket, socket.socket]:
    """A (client, server) connection of two pods whose ends are both enrolled."""
    client = data_path.pods.get("client") or data_path.add_pod("client")
    server = data_path.pods.get("server") or data_path.add_pod("server")
    data_path.accelerate(**settings)
    before = data_path.count(Verdict.ENROL_DONE)
    pair = data_path.pair(client, server)
    assert data_path.count(Verdict.ENROL_DONE) == before + 2
    return pair


def plain_pair(data_path: DataPath) -> tuple[socket.socket, socket.socket]:
    """A (client, server) connection of the same pods, not enrolled."""
    client = data_path.pods.get("client") or data_path.add_pod("client")
    server = data_path.pods.get("server") or data_path.add_pod("server")
    data_path.apply()
    assert not data_path.config.accelerate
    return data_path.pair(client, server)


def redirected(data_path: DataPath) -> int:
    return data_path.count(Verdict.SEND_REDIRECTED)


def read_exactly(end: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = end.recv(min(size, 1 << 20))
        assert part, f"the stream ended {size} bytes early"
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def unread_bytes(end: socket.socket) -> int:
    return int(struct.unpack("i", fcntl.ioctl(end, termios.FIONREAD, bytes(4)))[0])


def receive_memory_bytes(end: socket.socket) -> int:
    return int(struct.unpack_from("I", end.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))[0])
