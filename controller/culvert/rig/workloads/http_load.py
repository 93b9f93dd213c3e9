"""HTTP/1.1 load client: sends requests, prints one JSON line a second and a summary.

Each line: requests, failures, p50_ms, p99_ms, bytes; "answers" counts by the server's Pod header,
"reasons" the failures. Any status of 400 or more is a failure.
"""

from __future__ import annotations

import argparse
import asyncio
from urllib.parse import urlsplit

from culvert.rig.workloads import load
from culvert.rig.workloads.http1 import BadMessageError, Message, MessageReader


class HttpExchange(asyncio.Protocol):
    """One connection, kept alive unless ``fresh``."""

    def __init__(self, host: str, port: int, request: bytes, *, fresh: bool) -> None:
        self._host = host
        self._port = port
        self._request = request
        self._fresh = fresh
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Message] | None = None
        self._reader = MessageReader(responses=True, keep_bodies=False)

    async def __call__(self) -> load.Answer:
        """Send the request, connecting first where needed."""
        loop = asyncio.get_running_loop()
        if self._transport is None:
            self._reader = MessageReader(responses=True, keep_bodies=False)
            try:
                await loop.create_connection(lambda: self, self._host, self._port)
            except OSError as error:
                raise load.FailedError(load.reason_of(error)) from None
        assert self._transport is not None
        self._answer = loop.create_future()
        self._transport.write(self._request)
        try:
            message = await self._answer
        finally:
            self._answer = None
        if self._fresh or not message.keeps_alive:
            await self.aclose()
        status = message.start_line[9:12].decode("latin-1")
        if status >= "400":
            raise load.FailedError(status)
        pod = message.header(b"pod")
        return load.Answer(message.body_bytes, None if pod is None else pod.decode("latin-1"))

    async def aclose(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort() if self._answer else self._transport.close()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Complete the answer that is awaited."""
        try:
            for message in self._reader.feed(data):
                self._resolve(message)
        except BadMessageError:
            self._fail("malformed")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the answer that is awaited, unless the end of the stream completes it."""
        self._transport = None
        if self._answer is None:
            return
        try:
            message = self._reader.end()
        except BadMessageError:
            message = None
        if exc is None and message is not None:
            self._resolve(message)
        else:
            self._fail("closed" if exc is None else "reset")

    def _resolve(self, message: Message) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)

    def _fail(self, reason: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(load.FailedError(reason))
        if self._transport is not None:
            self._transport.abort()
            self._transport = None


def request_bytes(
    method: str, host: str, path: str, headers: list[str], body_bytes: int, *, close: bool
) -> bytes:
    """Return one request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    if body_bytes or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {body_bytes}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + b"x" * body_bytes


def main() -> None:
    """Read the command line and send."""
    parser = argparse.ArgumentParser(prog="http_load", description=__doc__)
    parser.add_argument("url", help="http://host:port/path")
    load.add_plan_options(parser)
    parser.add_argument("--method", default=None, help="default: GET, or POST with a body")
    parser.add_argument("--header", action="append", default=[], metavar="NAME: VALUE")
    parser.add_argument("--body-bytes", type=int, default=0)
    parser.add_argument("--fresh", action="store_true", help="a connection for each request")
    parser.add_argument("--fail", action="store_true", help="exit 1 when a request failed")
    options = parser.parse_args()
    url = urlsplit(options.url)
    if url.scheme != "http" or not url.hostname:
        parser.error(f"{options.url!r} is not an http:// URL")
    method = options.method or ("POST" if options.body_bytes else "GET")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    request = request_bytes(
        method, url.netloc, path, options.header, options.body_bytes, close=options.fresh
    )
    host, port = url.hostname, url.port or 80
    load.main(
        load.plan_from(options),
        lambda: HttpExchange(host, port, request, fresh=options.fresh),
        fail_on_failures=options.fail,
    )


if __name__ == "__main__":
    main()
