"""Answers requests on one port with 200, and sends bytes back on others."""

from __future__ import annotations

import asyncio
import sys

HTTP_PORT = 8080
ACCOUNT_PORT = 9000
"""Of the first account; the others follow."""

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_END = b"\r\n\r\n"


class _Requests(asyncio.Protocol):
    """Counts ends of heads: no request has a body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        seen = self._rest + data
        self._rest = seen.rpartition(_END)[2]
        self._transport.write(_ANSWER * seen.count(_END))


class _Bytes(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


async def main() -> None:
    """Argument: how many accounts there are."""
    loop = asyncio.get_running_loop()
    for host in ("0.0.0.0", "::"):
        await loop.create_server(_Requests, host, HTTP_PORT, backlog=1024)
        for account in range(int(sys.argv[1])):
            await loop.create_server(_Bytes, host, ACCOUNT_PORT + account, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
