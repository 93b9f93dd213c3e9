"""The one thread on which a rig talks to netlink and changes namespaces.

pyroute2's blocking sockets run an event loop of their own and belong to the thread that opened
them, so they cannot be used where a loop already runs; and a thread that moves between namespaces
must not be one that does anything else. The kernel takes these requests one at a time anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class NetlinkThread:
    """Runs functions one after the other on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def run(self, function: Callable[[], T]) -> T:
        """Run ``function`` there, wait for it, and return or raise what it does.

        An exception in the waiting thread (Ctrl-C) leaves the function running to its end.

        Raises:
            RuntimeError: the thread was closed.
        """
        return self._executor.submit(function).result()

    def close(self) -> None:
        """Let the running function end, drop those waiting, and end the thread."""
        self._executor.shutdown(wait=True, cancel_futures=True)


def run_off_loop(function: Callable[[], T]) -> T:
    """Run one function that talks to netlink, on this thread unless an event loop runs on it.

    Not on another thread in every case: at the interpreter's exit none can be started.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function()
    thread = NetlinkThread("netlink-once")
    try:
        return thread.run(function)
    finally:
        thread.close()
