"""Readiness and liveness: one attempt, and what a row of attempts means."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable

from culvert.rig import netns
from culvert.rig.podspec import Exec, HttpGet, Probe, TcpSocket
from culvert.rig.workloads.http1 import BadMessageError, MessageReader

RunCommand = Callable[[tuple[str, ...]], Awaitable[int]]
"""Runs a command in the container and returns its exit status."""


class Tally:
    """Says when a row of like results has become long enough to change the verdict; pure."""

    def __init__(self, probe: Probe, *, passing: bool) -> None:
        self._probe = probe
        self._row = 0
        self.passing = passing

    def record(self, *, success: bool) -> bool:
        """Count a result and return the verdict."""
        if success == self.passing:
            self._row = 0
            return self.passing
        self._row += 1
        threshold = self._probe.success_threshold if success else self._probe.failure_threshold
        if self._row >= threshold:
            self.passing = success
            self._row = 0
        return self.passing


async def attempt(probe: Probe, host: str, node_netns: int, run_command: RunCommand) -> bool:
    """Probe once, from the node, as the kubelet does; a failure of any kind is False.

    ``node_netns`` is an open descriptor of the node's namespace.
    """
    try:
        async with asyncio.timeout(probe.timeout_seconds):
            match probe.action:
                case TcpSocket(port=port, host=other):
                    (await _connect(other or host, port, node_netns)).close()
                    return True
                case HttpGet(host=other):
                    status = await _get_status(probe.action, other or host, node_netns)
                    return 200 <= status < 400
                case Exec(command=command):
                    return await run_command(command) == 0
    except (OSError, TimeoutError, BadMessageError):
        return False


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_UNVERIFIED = _unverified()


async def _connect(host: str, port: int, node_netns: int) -> socket.socket:
    with netns.entered(node_netns):
        made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, (host, port))
    except BaseException:
        made.close()
        raise
    return made


async def _get_status(action: HttpGet, host: str, node_netns: int) -> int:
    """Send the request and return the status.

    Raises:
        OSError: no connection, or it closed without an answer.
        BadMessageError: the answer is not HTTP.
    """
    headers = {"Host": f"{host}:{action.port}", "User-Agent": "kube-probe/culvert"}
    headers |= dict(action.headers)
    lines = [f"GET {action.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    request = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1", "replace")
    reader = MessageReader(responses=True, keep_bodies=False)
    connection = await _connect(host, action.port, node_netns)
    incoming, outgoing = await asyncio.open_connection(
        sock=connection,
        ssl=_UNVERIFIED if action.tls else None,
        server_hostname="" if action.tls else None,
    )
    try:
        outgoing.write(request)
        while data := await incoming.read(65536):
            for message in reader.feed(data):
                return _status(message.start_line)
    finally:
        outgoing.transport.abort()
    message_at_end = reader.end()
    if message_at_end is None:
        raise ConnectionResetError("closed without an answer")
    return _status(message_at_end.start_line)


def _status(start_line: bytes) -> int:
    digits = start_line[9:12]
    if not digits.isdigit():
        raise BadMessageError(f"not a status line: {start_line!r}")
    return int(digits)
