"""A way from the nodes of a rig to a server on this machine's loopback.

It listens inside a node's namespace, on the node's addresses, and connects from this process,
outside of it: nothing of the machine's own network is routed or opened to a pod.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from culvert.rig import netns
from culvert.rig.node import Node

_CHUNK_BYTES = 1 << 16


def listening_sockets(node: Node, port: int) -> list[socket.socket]:
    """Return sockets that listen on the node's addresses, IPv4 first.

    Raises:
        OSError: the port is taken.
    """
    made = []
    with netns.entered(node.netns_descriptor):
        for family, address in (
            (socket.AF_INET, node.addresses.ipv4),
            (socket.AF_INET6, node.addresses.ipv6),
        ):
            made.append(socket.create_server((address, port), family=family, backlog=128))
    return made


class Relay:
    """Passes TCP connections on to ``target``, address and port; an async context manager.

    A target that is not there shows as a connection that is closed at once.
    """

    def __init__(self, sockets: Sequence[socket.socket], target: tuple[str, int]) -> None:
        self._sockets = sockets
        self._target = target
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Take connections."""
        for made in self._sockets:
            self._servers.append(await asyncio.start_server(self._accept, sock=made))
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close all connections."""
        for server in self._servers:
            server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._pass_on(reader, writer)
        finally:
            self._connections.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_copy(reader, far_writer))
                tasks.create_task(_copy(far_reader, writer))
        finally:
            writer.transport.abort()
            far_writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end; the end is passed on, too. A broken connection breaks the other."""
    try:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()
            await writer.drain()
    except OSError:
        writer.transport.abort()
