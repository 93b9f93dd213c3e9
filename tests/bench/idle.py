"""What connections cost that do nothing: memory of the proxies in the way, and of the kernel."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from culvert.rig import Pod

from tests.bench.process_memory import kernel_bytes, resident_bytes
from tests.bench.wrk import LoadError

CONNECTIONS = 10_000
_SPARE_DESCRIPTORS = 500
_SETTLE_SECONDS = 2.0
_OPEN_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class IdleMemory:
    """Growth of memory with so many connections held open, in bytes.

    ``proxy_bytes`` is of all proxies together, ``kernel_bytes`` of the whole machine: other
    programs' use of it shows too.
    """

    connections: int
    proxy_bytes: int
    kernel_bytes: int


def connections_possible(descriptors_each: int) -> int:
    """How many of ``CONNECTIONS`` a proxy may hold that needs so many descriptors for each."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return CONNECTIONS
    return min(CONNECTIONS, (limit - _SPARE_DESCRIPTORS) // descriptors_each)


def measure_idle(
    program: Path,
    client: Pod,
    address: str,
    port: int,
    connections: int,
    fresh_proxies: Callable[[], Sequence[subprocess.Popen[bytes]]],
) -> IdleMemory:
    """Hold connections open and look. ``program`` is the compiled ``idle.c``.

    ``fresh_proxies`` starts the proxies anew and returns them: one that has served before has
    memory to spare, and would seem to need none.

    Raises:
        LoadError: not all connections could be opened.
    """
    proxies = fresh_proxies()
    # The first connection makes what exists once: pools, threads' caches.
    with _Holder(program, client, address, port, 1):
        time.sleep(_SETTLE_SECONDS)
    before = sum(resident_bytes(one) for one in proxies), kernel_bytes()
    with _Holder(program, client, address, port, connections):
        time.sleep(_SETTLE_SECONDS)
        after = sum(resident_bytes(one) for one in proxies), kernel_bytes()
    return IdleMemory(connections, after[0] - before[0], after[1] - before[1])


class _Holder:
    """The client, from "ready" to its end."""

    def __init__(self, program: Path, pod: Pod, address: str, port: int, count: int) -> None:
        self._argv = [str(program), address, str(port), str(count)]
        self._pod = pod
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> None:
        process = self._pod.start(
            ["timeout", str(int(_OPEN_SECONDS)), *self._argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        if process.stdout.readline().strip() != b"ready":
            _, errors = process.communicate()
            raise LoadError(f"idle connections: {errors.decode().strip()[-300:] or 'too slow'}")
        self._process = process

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.communicate()
