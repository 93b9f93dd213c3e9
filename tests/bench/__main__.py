"""``make bench``: the same work four ways, on one machine, in one run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from culvert.embedded.control_plane import ControlPlaneError
from culvert.embedded.control_plane.binaries import MissingProgramError
from culvert.embedded.node_view import NotReadyError
from culvert.kube.errors import ApiError, ApiUnreachable
from culvert.rig import Rig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.bench.awake import processors_awake
from tests.bench.cases import Case, all_cases, matching, one_at_a_time
from tests.bench.control_plane import ControlPlane, NotConvergedError, measure_control_plane
from tests.bench.document import render
from tests.bench.goals import paired, ratio_text
from tests.bench.identity import measure_identities
from tests.bench.identity_figures import Identities
from tests.bench.idle_cases import IdleCase, measure_idle_cases
from tests.bench.kept import keep
from tests.bench.proof import WrongWayError, prove_ways
from tests.bench.propagation import QUICK, Amounts, measure_propagation
from tests.bench.propagation_error import PropagationError
from tests.bench.propagation_figures import Propagation, WorldFigures
from tests.bench.reports import NODES, QUICK_NODES, measure_reports
from tests.bench.reports_error import NotTakenError
from tests.bench.reports_figures import Reports
from tests.bench.results import Results, Row, describe_machine, measured_row
from tests.bench.rounds import measure
from tests.bench.samples import spread
from tests.bench.scene import HTTP, TCP, VARIANTS, Scene
from tests.bench.tools import build
from tests.bench.wrk import LoadError

_FAILURES = (
    LoadError,
    WrongWayError,
    NotConvergedError,
    NotReadyError,
    OSError,
    PropagationError,
    NotTakenError,
    ControlPlaneError,
    MissingProgramError,
    ApiError,
    ApiUnreachable,
)
_ROOT = Path(__file__).resolve().parents[2]
_PARTS = ("rows", "idle", "control-plane", "propagation", "reports", "identity")
_KEPT_APART = {"propagation", "reports", "identity"}


def bench(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Two short rounds, nothing kept.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each row.")] = 7,
    seconds: Annotated[int, typer.Option(min=1, help="Length of one measurement.")] = 2,
    variants: Annotated[str, typer.Option(help="Which of a, b, c and d.")] = "".join(VARIANTS),
    only: Annotated[list[str] | None, typer.Option(help="Rows whose name holds this.")] = None,
    part: Annotated[list[str] | None, typer.Option(help="Of: " + ", ".join(_PARTS))] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Envoy's worker threads.")] = 1,
    docs: Annotated[Path, typer.Option(help="Where the document goes.")] = _ROOT / "docs",
) -> None:
    """Measure, show the tables, and write docs/benchmarks.md unless only a part was asked for.

    The parts propagation, reports and identity keep their own results, and are written for
    themselves.
    """
    console = Console()
    rounds, seconds = (2, 1) if quick else (rounds, seconds)
    parts = tuple(part or _PARTS)
    rows: list[Row] = []
    halting_rows: list[Row] = []
    idle: list[IdleCase] = []
    control_plane: ControlPlane | None = None
    command, machine = _command(sys.argv[1:]), describe_machine()
    propagation: Propagation | None = None
    reports: Reports | None = None
    identities: Identities | None = None
    try:
        if "propagation" in parts:
            figures = _measure_propagation(console, quick=quick)
            # No load generator has a part in it.
            propagation = Propagation(dict(list(machine.items())[:-1]), command, figures)
        if "reports" in parts:
            nodes = QUICK_NODES if quick else NODES
            # Nor has Envoy in this.
            bare_machine = dict(list(machine.items())[:-2])
            reports = measure_reports(nodes, bare_machine, command, console.print)
        if "identity" in parts:
            identities = measure_identities(
                rounds, seconds, concurrency, machine, command, console.print
            )
        if "control-plane" in parts:
            control_plane = measure_control_plane(console.print)
        if {"rows", "idle"} & set(parts):
            with Rig() as rig:
                scene = Scene(rig, tuple(variants), concurrency)
                with scene.town.mesh:
                    console.print(f"variants {', '.join(variants)} come up")
                    scene.start()
                    for server in (HTTP, TCP):
                        prove_ways(scene, server)
                    if "rows" in parts:
                        cases = matching(all_cases(seconds, scene.bulk_program), only or [])
                        with processors_awake():
                            rows = _measure_rows(scene, cases, rounds, console)
                        console.print("the same with processors that halt when idle")
                        halting_rows = _measure_rows(scene, one_at_a_time(cases), rounds, console)
                    if "idle" in parts:
                        idle = measure_idle_cases(
                            scene,
                            build("idle", rig.directory),
                            concurrency=concurrency,
                            said=console.print,
                        )
    except _FAILURES as error:
        console.print(f"[red]✗[/] {error}", highlight=False)
        raise typer.Exit(3) from error
    results = Results(
        machine=machine,
        command=command,
        rounds=rounds,
        seconds=seconds,
        concurrency=concurrency,
        rows=rows,
        halting_rows=halting_rows,
        idle=idle,
        control_plane=control_plane,
    )
    others = set(parts) - _KEPT_APART
    whole = not only and set(variants) == set(VARIANTS) and others == set(_PARTS) - _KEPT_APART
    if quick or (others and not whole):
        console.print(
            render(results, propagation, reports, identities), highlight=False, markup=False
        )
        return
    written = keep(docs, results if others else None, propagation, reports, identities)
    console.print(f"written to {written}")


def _command(arguments: list[str]) -> str:
    """What to type for the same run."""
    return f'make bench ARGS="{" ".join(arguments)}"' if arguments else "make bench"


def _measure_propagation(console: Console, *, quick: bool) -> list[WorldFigures]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        return measure_propagation(QUICK if quick else Amounts(), progress, console.print)


def _measure_rows(scene: Scene, cases: Sequence[Case], rounds: int, console: Console) -> list[Row]:
    rows = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("", total=len(cases) * rounds * len(scene.variants))
        for case in cases:
            progress.update(task, description=case.name)
            samples = measure(scene, case, rounds, on_progress=lambda: progress.advance(task))
            row = measured_row(case, samples, scene.variants)
            rows.append(row)
            progress.console.print(_line(row), highlight=False)
    return rows


def _line(row: Row) -> str:
    parts = [f"{v} {spread(values).median:,.4g}" for v, values in row.rate.items() if values]
    for base in ("b", "c"):
        ratio = paired(row.rate, "d", base)
        parts += [f"d/{base} {ratio_text(ratio)}"] if ratio else []
    return f"{row.name:45} " + "  ".join(parts)


typer.run(bench)
