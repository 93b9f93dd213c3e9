"""Start programs inside a network namespace and a cgroup, in both from their first instruction.

A small shell joins the cgroup, ``nsenter`` joins the namespace, then the program takes their
place: same pid, no interpreter in between, a few milliseconds. Whatever socket the program makes
belongs to both.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_LAUNCH = (
    'echo 0 >"$1/cgroup.procs" || exit 126; ns="--net=$2"; shift 2; exec nsenter "$ns" -- "$@"'
)

Output = int | IO[bytes] | None
"""As for ``subprocess``: a descriptor or file, PIPE or DEVNULL; None: the caller's own."""


def launch_argv(argv: Sequence[str], *, netns: Path, cgroup: Path) -> list[str]:
    """Return the command that joins ``cgroup`` and ``netns`` and then becomes ``argv``."""
    return ["/bin/sh", "-c", _LAUNCH, "culvert-launch", str(cgroup), str(netns), *argv]


def start(
    argv: Sequence[str],
    *,
    netns: Path,
    cgroup: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: Output = subprocess.DEVNULL,
    stdout: Output = None,
    stderr: Output = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program; it leads a session of its own, so Ctrl-C at the terminal passes it by.

    ``env`` None keeps the caller's. A program that cannot be found ends with status 127 and a line
    on its standard error, as in a shell.
    """
    return subprocess.Popen(
        launch_argv(argv, netns=netns, cgroup=cgroup),
        env=None if env is None else dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        start_new_session=True,
    )


async def start_async(
    argv: Sequence[str],
    *,
    netns: Path,
    cgroup: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: Output = subprocess.DEVNULL,
    stdout: Output = None,
    stderr: Output = None,
) -> asyncio.subprocess.Process:
    """Start a program as ``start`` does, for a caller on an event loop."""
    return await asyncio.create_subprocess_exec(
        *launch_argv(argv, netns=netns, cgroup=cgroup),
        env=None if env is None else dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


async def exited(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process on the event loop and return its exit status.

    By a pidfd (pidfd_open(2)), so without a thread for each process that is waited for.
    """
    loop = asyncio.get_running_loop()
    if process.poll() is None:
        descriptor = os.pidfd_open(process.pid)
        ended = asyncio.Event()
        try:
            loop.add_reader(descriptor, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(descriptor)
        finally:
            os.close(descriptor)
    return process.wait()


def stop(process: subprocess.Popen[bytes], *, grace_seconds: float) -> int:
    """End a process by SIGTERM, after ``grace_seconds`` by SIGKILL; return its exit status.

    One that already ended is only collected. As ``Popen``: a negative status is a signal.
    """
    process.terminate()
    try:
        return process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def start_time_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is gone.

    Together with the pid this names a process for good: pids are used again. Field 22 of
    ``/proc/<pid>/stat``, see proc_pid_stat(5).
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the name in parentheses, and the name itself may hold anything.
    fields = text[text.rindex(")") + 2 :].split()
    state, ticks = fields[0], int(fields[19])
    return None if state in "ZX" else ticks


def own_start_time_ticks() -> int:
    """Return when this process started, in clock ticks since boot."""
    ticks = start_time_ticks(os.getpid())
    if ticks is None:
        raise RuntimeError("/proc does not show this process: is it mounted?")
    return ticks
