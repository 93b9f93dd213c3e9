"""One value handed from task to task."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Newest(Generic[_T]):
    """Holds the newest value only: a reader that is late skips what was overtaken."""

    def __init__(self) -> None:
        self._value: _T | None = None
        self._present = asyncio.Event()

    def put(self, value: _T) -> None:
        """Replace what is held."""
        self._value = value
        self._present.set()

    async def take(self) -> _T:
        """Wait for a value that was not taken yet."""
        await self._present.wait()
        self._present.clear()
        assert self._value is not None
        return self._value
