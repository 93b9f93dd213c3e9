"""Ends a TCP connection of this network namespace, as its owner would by a reset.

The kernel's ``SOCK_DESTROY`` (linux/sock_diag.h, linux/inet_diag.h; CONFIG_INET_DIAG_DESTROY): both
ends see an error, and a proxy in between passes the end on.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable
from ipaddress import ip_address

_NETLINK_SOCK_DIAG = 4
_SOCK_DESTROY = 21
_REQUEST_AND_ACK = 0x1 | 0x4
_ERROR = 2
_HEADER = struct.Struct("=IHHII")
_NO_COOKIE = b"\xff" * 8
_ALL_STATES = 0xFFFFFFFF
_SECONDS = 2.0

Socket = tuple[str, int, str, int]
"""Address and port in host order of this end, then of the other."""


def destroy_sockets(sockets: Iterable[Socket]) -> int:
    """End these connections; returns how many there were, for some may have gone by now.

    Raises:
        OSError: not permitted, or not known to this kernel (EOPNOTSUPP).
    """
    ended = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(_SECONDS)
        for one in sockets:
            netlink.send(_request(one))
            error = _answer(netlink.recv(4096))
            if error == 0:
                ended += 1
            elif error != errno.ENOENT:
                raise OSError(error, os.strerror(error))
    return ended


def _request(one: Socket) -> bytes:
    near, near_port, far, far_port = one
    ends = ip_address(near), ip_address(far)
    family = socket.AF_INET if ends[0].version == 4 else socket.AF_INET6
    body = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES)
    body += struct.pack("!HH", near_port, far_port)
    body += b"".join(end.packed.ljust(16, b"\0") for end in ends)
    body += struct.pack("=I", 0) + _NO_COOKIE
    length = _HEADER.size + len(body)
    return _HEADER.pack(length, _SOCK_DESTROY, _REQUEST_AND_ACK, 1, 0) + body


def _answer(message: bytes) -> int:
    (_, kind, _, _, _) = _HEADER.unpack_from(message)
    if kind != _ERROR:
        return 0
    (code,) = struct.unpack_from("=i", message, _HEADER.size)
    return int(-code)
