"""The connection under the requests: its socket, and how its failures are put."""

from __future__ import annotations

import socket

import aiohttp

_KEEPALIVE_SECONDS = 15


def socket_with_keepalive(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that notices within a minute when the server's machine is gone."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_SECONDS)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    return made


def words_of(error: BaseException) -> str:
    """What went wrong, also for the errors that come without words."""
    if isinstance(error, TimeoutError):
        return str(error) or "no answer in time"
    return str(error) or type(error).__name__
