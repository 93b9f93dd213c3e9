"""``make bench``: the same work four ways, on one machine, in one run."""

from __future__ import annotations

from typing import Annotated

import typer
from culvert.rig import Rig
from rich.console import Console

from tests.bench.cases import all_cases, matching
from tests.bench.proof import prove_ways
from tests.bench.rounds import measure
from tests.bench.samples import paired_ratio, spread
from tests.bench.scene import HTTP, TCP, VARIANTS, Scene


def bench(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Few short rounds: a try.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each measurement.")] = 7,
    seconds: Annotated[int, typer.Option(min=1, help="Length of one measurement.")] = 2,
    variants: Annotated[str, typer.Option(help="Which of a, b, c and d.")] = "".join(VARIANTS),
    only: Annotated[list[str] | None, typer.Option(help="Rows whose name holds this.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Envoy's worker threads.")] = 1,
) -> None:
    """Measure."""
    console = Console()
    rounds, seconds = (2, 1) if quick else (rounds, seconds)
    with Rig() as rig:
        scene = Scene(rig, tuple(variants), concurrency)
        with scene.town.mesh:
            scene.start()
            for server in (HTTP, TCP):
                prove_ways(scene, server)
            for case in matching(all_cases(seconds, scene.bulk_program), only or ()):
                samples = measure(scene, case, rounds)
                rates = {v: samples.of(v, "rate") for v in variants}
                line = case.name + "".join(f" {v} {spread(rates[v]).median:.4g}" for v in variants)
                for base in "bc":
                    ratio = paired_ratio(rates["d"], rates[base])
                    line += f" d/{base} {ratio.spread.median:.2f} {'noise' * ratio.is_noise}"
                console.print(line)


typer.run(bench)
