"""The part about identities: what mutual TLS and policies cost, beside sidecars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from culvert.rig import Rig

from tests.bench.awake import processors_awake
from tests.bench.identity_figures import Identities, IdentityRow
from tests.bench.identity_handshakes import doors, handshakes_per_second
from tests.bench.identity_proof import prove_identities
from tests.bench.identity_scene import (
    DIRECT,
    HERE,
    L4,
    L7,
    MUTUAL,
    PLAIN,
    POLICIES,
    SIDECARS,
    THERE,
    IdentityScene,
    many,
)
from tests.bench.samples import turns
from tests.bench.scene import HTTP, TCP, Route
from tests.bench.wrk import LoadError, WrkReport, run_wrk

CROSS, SAME, COUNTS, HANDSHAKES = "cross", "same", "counts", "handshakes"
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Load:
    """One row: the same load on several ways."""

    table: str
    name: str
    place: str
    kind: str
    ways: tuple[str, ...]
    connections: int
    body_bytes: int = 1024
    fresh: bool = False

    def run(self, route: Route, seconds: int) -> WrkReport:
        """Put it on a route. Raises ``LoadError``."""
        return run_wrk(
            route.client,
            f"{route.url}/{self.body_bytes}",
            connections=self.connections,
            seconds=seconds,
            headers=("Connection: close",) if self.fresh else (),
        )


def all_loads() -> list[Load]:
    """Every row, in the order of the tables."""
    cross, same = (DIRECT, SIDECARS, PLAIN, MUTUAL, L4, L7), (DIRECT, SIDECARS, PLAIN, MUTUAL, L4)
    counts = (MUTUAL, *map(many, POLICIES))
    loads = []
    for table, place in ((CROSS, THERE), (SAME, HERE)):
        for connections in (1, 16, 64):
            loads.append(Load(table, _name("HTTP", connections), place, HTTP, cross, connections))
        for connections in (1, 16):
            loads.append(Load(table, _name("TCP", connections), place, TCP, same, connections))
        big = "HTTP, 16 connections, 64 KiB"
        loads.append(Load(table, big, place, HTTP, cross, 16, body_bytes=65536))
        for kind, text in ((HTTP, "HTTP"), (TCP, "TCP")):
            name, ways = f"{text}, a connection for each request", cross if kind == HTTP else same
            loads.append(Load(table, name, place, kind, ways, 16, fresh=True))
    for kind, text, fresh in ((HTTP, "HTTP, 1 connection", False), (TCP, "TCP, new", True)):
        name = f"{text}, by number of policies"
        loads.append(Load(COUNTS, name, HERE, kind, counts, 1, fresh=fresh))
    return loads


def measure_identities(
    rounds: int,
    seconds: int,
    concurrency: int,
    machine: dict[str, str],
    command: str,
    said: Callable[[str], None],
) -> Identities:
    """Bring everything up, measure every row, take everything down.

    Raises:
        LoadError: a load failed several times running.
        WrongWayError: something does not go the way that it is said to go.
    """
    with ExitStack() as stack:
        rigs = [stack.enter_context(Rig()) for _ in range(2)]
        scene = IdentityScene(rigs[0], rigs[1], concurrency)
        stack.enter_context(scene.mutual.mesh)
        stack.enter_context(scene.plain.mesh)
        said("identities: direct, sidecars, and Culvert without and with identities come up")
        scene.start()
        prove_identities(scene)
        stack.enter_context(processors_awake())
        rows = []
        for load in all_loads():
            row = _measure(scene, load, rounds, seconds)
            rows.append(row)
            said(row_text(row))
        rows.append(_measure_handshakes(scene, rounds, seconds))
        said(row_text(rows[-1]))
    return Identities(machine, command, rounds, seconds, rows)


def row_text(row: IdentityRow) -> str:
    """One line: the medians."""
    middle = {way: sorted(values)[len(values) // 2] for way, values in row.rate.items()}
    return f"{row.table} {row.name:38} " + "  ".join(f"{w} {v:,.0f}" for w, v in middle.items())


def _measure(scene: IdentityScene, load: Load, rounds: int, seconds: int) -> IdentityRow:
    rate, p50_ms, p99_ms = (defaultdict[str, list[float]](list) for _ in range(3))
    for number in range(rounds):
        for way in turns(load.ways, number):
            report = _attempt(load, scene.routes[way, load.place, load.kind], seconds)
            rate[way].append(report.requests_per_second)
            p50_ms[way].append(report.p50_ms)
            p99_ms[way].append(report.p99_ms)
    unit = "connections/s" if load.fresh else "requests/s"
    return IdentityRow(load.table, load.name, unit, dict(rate), dict(p50_ms), dict(p99_ms))


def _measure_handshakes(scene: IdentityScene, rounds: int, seconds: int) -> IdentityRow:
    found, rate = doors(scene), defaultdict[str, list[float]](list)
    for number in range(rounds):
        for way in turns(list(found), number):
            rate[way].append(handshakes_per_second(found[way], seconds))
    return IdentityRow(HANDSHAKES, "TLS handshakes", "handshakes/s", dict(rate), {}, {})


def _attempt(load: Load, route: Route, seconds: int) -> WrkReport:
    for _ in range(_ATTEMPTS - 1):
        try:
            return load.run(route, seconds)
        except LoadError:
            continue
    return load.run(route, seconds)


def _name(what: str, connections: int) -> str:
    return f"{what}, {connections} connection{'s' if connections > 1 else ''}, 1 KiB"
