"""A program started beside a container, and the ends of its streams on the event loop."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import struct
import subprocess
import termios
from contextlib import suppress
from typing import Self

from culvert.rig.container import ContainerRunner
from culvert.rig.kube.remote_command import ExecRequest

_CHUNK_BYTES = 1 << 15
_TERMINAL = {"TERM": "xterm"}
# The program leads a session, and the terminal is that session's: job control, Ctrl-C and hangup.
_IN_TERMINAL = ("setsid", "--ctty", "--wait", "--")


class ExecProcess:
    """Use ``start`` to make one; an async context manager that leaves no process behind."""

    def __init__(self, process: asyncio.subprocess.Process, terminal: int | None) -> None:
        self._process = process
        self._terminal = terminal
        """Descriptor of the near end of its terminal."""
        self.outputs: dict[str, asyncio.StreamReader] = {}
        """``stdout`` and ``stderr``, those that were asked for."""
        self._input: asyncio.StreamWriter | None = process.stdin
        self._transports: list[asyncio.BaseTransport] = []

    @classmethod
    async def start(cls, runner: ContainerRunner, request: ExecRequest) -> Self:
        """Start what a request asks for.

        Raises:
            NotRunningError: the container does not run now.
        """
        if request.terminal:
            return await cls._start_in_terminal(runner, request)
        process = await runner.start_beside(
            request.argv,
            stdin=subprocess.PIPE if request.stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE if request.stdout else subprocess.DEVNULL,
            stderr=subprocess.PIPE if request.stderr else subprocess.DEVNULL,
        )
        started = cls(process, None)
        for name, reader in (("stdout", process.stdout), ("stderr", process.stderr)):
            if reader is not None:
                started.outputs[name] = reader
        return started

    @classmethod
    async def _start_in_terminal(cls, runner: ContainerRunner, request: ExecRequest) -> Self:
        near, far = os.openpty()
        try:
            process = await runner.start_beside(
                request.argv,
                variables=_TERMINAL,
                around=_IN_TERMINAL,
                stdin=far,
                stdout=far,
                stderr=far,
            )
        except BaseException:
            os.close(near)
            raise
        finally:
            os.close(far)
        started = cls(process, near)
        await started._connect(near)
        return started

    async def _connect(self, terminal: int) -> None:
        """Read and write the near end of a terminal; each way has a descriptor of its own."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        reading, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(terminal), "rb", 0)
        )
        writing, protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()),
            os.fdopen(os.dup(terminal), "wb", 0),
        )
        self._transports = [reading, writing]
        self.outputs["stdout"] = reader
        self._input = asyncio.StreamWriter(writing, protocol, None, loop)

    async def __aenter__(self) -> Self:
        """Nothing more to do: it runs."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Kill it, and what it has started in its process group, where it still runs."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for transport in self._transports:
            transport.close()
        if self._terminal is not None:
            os.close(self._terminal)
        await self._process.wait()

    async def read(self, output: str) -> bytes:
        """Return what came; nothing at the end."""
        try:
            return await self.outputs[output].read(_CHUNK_BYTES)
        except OSError as error:
            # How a terminal says that nobody has its far end open any more.
            if error.errno != errno.EIO:
                raise
            return b""

    async def write(self, data: bytes) -> None:
        """Pass input on; what nobody reads any more is dropped."""
        if self._input is not None:
            with suppress(OSError):
                self._input.write(data)
                await self._input.drain()

    def end_input(self) -> None:
        """Say that there is no more."""
        if self._input is not None and self._terminal is None:
            self._input.close()

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of its terminal, if it has one."""
        if self._terminal is not None:
            size = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    async def ended(self) -> int:
        """Wait for its end and return its exit code; 128 and the signal's number for a signal."""
        status = await self._process.wait()
        return status if status >= 0 else 128 - status
