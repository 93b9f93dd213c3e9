"""Long-running commands end in order when they are told to."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine


async def until_signalled(work: Coroutine[None, None, None]) -> None:
    """Do the work; SIGTERM and SIGINT cancel it, and that is no failure."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return
