"""``make bench``: the same work four ways, on one machine, in one run."""

from __future__ import annotations

from typing import Annotated

import typer
from culvert.rig import Rig
from rich.console import Console

from tests.bench.samples import paired_ratio, spread, turns
from tests.bench.scene import HTTP, TCP, VARIANTS, Scene
from tests.bench.wrk import run_wrk


def bench(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Few short rounds: a try.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each measurement.")] = 7,
    seconds: Annotated[int, typer.Option(min=1, help="Length of one measurement.")] = 2,
    variants: Annotated[str, typer.Option(help="Which of a, b, c and d.")] = "".join(VARIANTS),
    concurrency: Annotated[int, typer.Option(min=1, help="Envoy's worker threads.")] = 1,
) -> None:
    """Measure."""
    console = Console()
    rounds, seconds = (2, 1) if quick else (rounds, seconds)
    with Rig() as rig:
        scene = Scene(rig, tuple(variants), concurrency)
        with scene.town.mesh:
            scene.start()
            for kind in (HTTP, TCP):
                for connections in (1, 16, 256):
                    for body in (1024, 65536):
                        values: dict[str, list[float]] = {v: [] for v in variants}
                        tails: dict[str, list[float]] = {v: [] for v in variants}
                        for number in range(rounds):
                            for variant in turns(tuple(variants), number):
                                route = scene.routes[variant, kind]
                                report = run_wrk(
                                    route.client,
                                    f"{route.url}/{body}",
                                    connections=connections,
                                    seconds=seconds,
                                )
                                values[variant].append(report.requests_per_second)
                                tails[variant].append(report.p99_ms)
                        line = f"{kind} {connections} {body}"
                        for v in variants:
                            line += f" {v} {spread(values[v]).median:.0f}"
                            line += f"/{spread(tails[v]).median:.2f}ms"
                        if {"c", "d"} <= set(variants):
                            line += f" d/c {paired_ratio(values['d'], values['c']).spread}"
                        if {"b", "d"} <= set(variants):
                            line += f" d/b {paired_ratio(values['d'], values['b']).spread}"
                        console.print(line)


typer.run(bench)
