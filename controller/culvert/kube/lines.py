"""A byte stream cut into lines: how the API frames the events of a watch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp


class LineSplitter:
    """Takes chunks of any size, gives whole lines without their ends; empty lines are dropped.

    What follows the last line end waits for more; after a broken stream it is lost, which is right
    for a watch: half an event is none.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that ``chunk`` completes."""
        first, *others = chunk.split(b"\n")
        self._parts.append(first)
        if not others:
            return
        lines = (b"".join(self._parts), *others[:-1])
        self._parts = [others[-1]]
        yield from filter(None, lines)


async def lines_of(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The lines of an answer's body, each as soon as it is whole."""
    splitter = LineSplitter()
    async for chunk in content.iter_any():
        for line in splitter.feed(chunk):
            yield line
