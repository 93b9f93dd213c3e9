"""What is measured: each case is one row of the tables, the same for every variant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.scene import BULK, HTTP, TCP, Route
from tests.bench.wrk import LoadError, run_wrk

CONNECTIONS = (1, 16, 256)
BODY_BYTES = (1024, 65536)
WRITE_BYTES = (1024, 8192, 131072)
_NEW_CONNECTIONS_AT_ONCE = 16

RATE, P99 = "rate", "p99_ms"

REQUESTS, BULK_RATES, NEW_CONNECTIONS = "requests", "bulk", "connections"


@dataclass(frozen=True, slots=True)
class Case:
    """One row. ``measure`` returns ``RATE`` in ``unit`` and, for requests, ``P99``."""

    table: str
    name: str
    server: str
    connections: int
    size_bytes: int
    unit: str
    measure: Callable[[Route], Mapping[str, float]]


def all_cases(seconds: int, bulk_program: Path) -> list[Case]:
    """Every case, in the order of the tables."""
    return [
        *(
            _requests(server, connections, body, seconds)
            for server in (HTTP, TCP)
            for connections in CONNECTIONS
            for body in BODY_BYTES
        ),
        *(
            _bulk(direction, size, seconds, bulk_program)
            for direction in ("upload", "download")
            for size in WRITE_BYTES
        ),
        *(_new_connections(server, seconds) for server in (HTTP, TCP)),
    ]


def matching(cases: Iterable[Case], words: Iterable[str]) -> list[Case]:
    """The cases whose name holds every one of the words."""
    wanted = [word.lower() for word in words]
    return [case for case in cases if all(word in case.name.lower() for word in wanted)]


def one_at_a_time(cases: Iterable[Case]) -> list[Case]:
    """The cases with one request under way at a time."""
    return [case for case in cases if case.table == REQUESTS and case.connections == 1]


def size_text(size_bytes: int) -> str:
    """``64 KiB``."""
    return f"{size_bytes // 1024} KiB"


def _service(server: str) -> str:
    return "HTTP" if server == HTTP else "opaque TCP"


def _requests(server: str, connections: int, body_bytes: int, seconds: int) -> Case:
    def measure(route: Route) -> Mapping[str, float]:
        report = run_wrk(
            route.client, f"{route.url}/{body_bytes}", connections=connections, seconds=seconds
        )
        return {RATE: report.requests_per_second, P99: report.p99_ms}

    plural = "s" if connections > 1 else ""
    name = f"{_service(server)}, {connections} connection{plural}, {size_text(body_bytes)}"
    return Case(REQUESTS, name, server, connections, body_bytes, "requests/s", measure)


def _bulk(direction: str, write_bytes: int, seconds: int, program: Path) -> Case:
    def measure(route: Route) -> Mapping[str, float]:
        argv = [str(program), direction, route.address, str(route.port)]
        done = route.client.run([*argv, str(write_bytes), str(seconds * 1000)])
        if done.returncode:
            raise LoadError(f"bulk {direction}: {done.stderr.decode().strip()}")
        return {RATE: float(done.stdout)}

    name = f"{direction}, writes of {size_text(write_bytes)}"
    return Case(BULK_RATES, name, BULK, 1, write_bytes, "Gbit/s", measure)


def _new_connections(server: str, seconds: int) -> Case:
    def measure(route: Route) -> Mapping[str, float]:
        report = run_wrk(
            route.client,
            f"{route.url}/1024",
            connections=_NEW_CONNECTIONS_AT_ONCE,
            seconds=seconds,
            headers=("Connection: close",),
        )
        return {RATE: report.requests_per_second, P99: report.p99_ms}

    name = f"{_service(server)}, a connection for each request"
    return Case(
        NEW_CONNECTIONS, name, server, _NEW_CONNECTIONS_AT_ONCE, 1024, "connections/s", measure
    )
