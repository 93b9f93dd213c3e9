"""HTTP/1.1 server that answers what it saw of a request.

    /              JSON: pod, node, method, path, headers, remote and local address, body size
    /bytes/N       N bytes
    /delay/MS      as /, after MS milliseconds
    /status/CODE   as /, with this status
    /echo          the request's body
    /healthz       ok

On SIGTERM it stops accepting, answers what is under way, asks clients to close, and ends when the
last connection has closed or --drain seconds are over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from http import HTTPStatus

from culvert.rig.workloads.http1 import BadMessageError, Message, MessageReader
from culvert.rig.workloads.identity import node_name, pod_name

_MAX_BYTES = 1 << 30


class EchoServer:
    """What all connections share."""

    def __init__(self, delay_seconds: float = 0.0) -> None:
        self.delay_seconds = delay_seconds
        self.draining = False
        self.connections: set[EchoProtocol] = set()
        self.all_closed = asyncio.Event()
        self._pod = pod_name()
        self._node = node_name()

    def answer(self, request: Message, remote: str, local: str) -> tuple[float, int, str, bytes]:
        """Return the answer to a request: delay in seconds, status, content type, body."""
        method, _, rest = request.start_line.decode("latin-1").partition(" ")
        path = rest.rpartition(" ")[0]
        delay_seconds, status = self.delay_seconds, 200
        route, _, argument = path.partition("?")[0].strip("/").partition("/")
        match route:
            case "healthz":
                return 0.0, 200, "text/plain", b"ok\n"
            case "echo":
                return delay_seconds, 200, "application/octet-stream", request.body
            case "bytes" if argument.isdigit() and int(argument) <= _MAX_BYTES:
                return delay_seconds, 200, "application/octet-stream", bytes(int(argument))
            case "delay" if argument.isdigit():
                delay_seconds = int(argument) / 1000
            case "status" if argument.isdigit() and 200 <= int(argument) <= 599:
                status = int(argument)
        document = {
            "pod": self._pod,
            "node": self._node,
            "method": method,
            "path": path,
            "headers": [
                [name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers
            ],
            "remote": remote,
            "local": local,
            "body_bytes": request.body_bytes,
        }
        return delay_seconds, status, "application/json", json.dumps(document).encode() + b"\n"

    def head(self, status: int, content_type: str, body_bytes: int, *, close: bool) -> bytes:
        """Return the status line and headers of an answer."""
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unassigned"
        length = "" if status in (204, 304) else f"Content-Length: {body_bytes}\r\n"
        return (
            f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\n{length}"
            f"Pod: {self._pod}\r\n{'Connection: close' + chr(13) + chr(10) if close else ''}\r\n"
        ).encode("latin-1")

    def drain(self) -> None:
        """Ask every client to close; idle connections close now."""
        self.draining = True
        self.closed(None)
        for connection in list(self.connections):
            connection.close_if_idle()

    def closed(self, connection: EchoProtocol | None) -> None:
        """Forget a connection."""
        if connection is not None:
            self.connections.discard(connection)
        if self.draining and not self.connections:
            self.all_closed.set()


class EchoProtocol(asyncio.Protocol):
    """One connection: answers requests in the order they came."""

    def __init__(self, server: EchoServer) -> None:
        self._server = server
        self._reader = MessageReader(responses=False)
        self._delayed: asyncio.Task[None] | None = None
        self._pending = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember who is calling."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._remote = _address_text(transport.get_extra_info("peername"))
        self._local = _address_text(transport.get_extra_info("sockname"))
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._delayed is not None:
            self._delayed.cancel()
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        """Answer the requests that these bytes complete."""
        try:
            requests = self._reader.feed(data)
        except BadMessageError as error:
            body = f"{error}\n".encode()
            head = self._server.head(400, "text/plain", len(body), close=True)
            self._transport.write(head + body)
            self._transport.close()
            return
        for request in requests:
            self._take(request)

    def close_if_idle(self) -> None:
        """Close, unless a request is under way."""
        if not self._pending and self._reader.idle:
            self._transport.close()

    def _take(self, request: Message) -> None:
        self._pending += 1
        answer = self._server.answer(request, self._remote, self._local)
        # One behind a delayed answer has to wait for it, to keep the order.
        if answer[0] > 0 or self._delayed is not None:
            self._delayed = asyncio.ensure_future(self._send_later(self._delayed, request, answer))
        else:
            self._send(request, answer)

    async def _send_later(
        self,
        before: asyncio.Task[None] | None,
        request: Message,
        answer: tuple[float, int, str, bytes],
    ) -> None:
        if before is not None:
            await before
        await asyncio.sleep(answer[0])
        self._send(request, answer)
        if self._delayed is asyncio.current_task():
            self._delayed = None

    def _send(self, request: Message, answer: tuple[float, int, str, bytes]) -> None:
        _, status, content_type, body = answer
        close = self._server.draining or not request.keeps_alive
        head = self._server.head(status, content_type, len(body), close=close)
        without_body = request.start_line.startswith(b"HEAD ") or status in (204, 304)
        self._transport.write(head if without_body else head + body)
        self._pending -= 1
        if close and not self._pending:
            self._transport.close()


async def serve(address: str | None, port: int, delay_seconds: float, drain_seconds: float) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    shared = EchoServer(delay_seconds)
    listener = await loop.create_server(
        lambda: EchoProtocol(shared), address, port, backlog=1024, reuse_address=True
    )
    await stop.wait()
    listener.close()
    shared.drain()
    try:
        async with asyncio.timeout(drain_seconds):
            await shared.all_closed.wait()
    except TimeoutError:
        return


def _address_text(name: tuple[str, int] | tuple[str, int, int, int] | None) -> str:
    if name is None:
        return ""
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="http_echo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--address", default=None, help="listen here; default: everywhere")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--delay-ms", type=float, default=0.0, help="wait before each answer")
    parser.add_argument(
        "--drain",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="longest wait for clients to close on SIGTERM",
    )
    options = parser.parse_args()
    asyncio.run(serve(options.address, options.port, options.delay_ms / 1000, options.drain))


if __name__ == "__main__":
    main()
