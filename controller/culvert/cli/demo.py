"""``culvert demo``: a mesh of two nodes on this machine, with real traffic."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from culvert.embedded.control_plane.binaries import MissingProgramError
from culvert.embedded.demo.background import let_go, owner, run_kept, take_down
from culvert.embedded.demo.kube_town import KubectlError
from culvert.embedded.demo.readings import Reading, shortcomings
from culvert.embedded.demo.run import DEFAULT_RIG_ID, DemoOptions, run_demo
from culvert.embedded.demo.screen import Screen
from culvert.embedded.demo.working_copy import manifests_of
from culvert.embedded.helm import HelmError
from culvert.embedded.node_view import NotReadyError
from culvert.rig.cgroup import NoCgroup2Error, find_mount
from culvert.rig.state import RUN_DIRECTORY

EXIT_MACHINE = 3
_LOG_COLUMNS = 100
EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "shop"


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


def demo(
    *,
    folder: Annotated[
        Path,
        typer.Option(
            help="Kubernetes YAML to realise; it is copied, never changed.",
            show_default="examples/shop",
        ),
    ] = EXAMPLES,
    seconds: Annotated[float, typer.Option(min=5, help="Length after start-up.")] = 40.0,
    keep: Annotated[bool, typer.Option(help="Leave everything up after the summary.")] = False,
    kube: Annotated[
        bool, typer.Option("--kube", help="On a real API server, with the charts installed.")
    ] = False,
    down: Annotated[bool, typer.Option(help="End a demo that was kept, and clean up.")] = False,
    plain: Annotated[bool, typer.Option(help="Lines instead of a live view.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o")] = Output.TABLE,
    rig_id: Annotated[str, typer.Option("--rig", hidden=True)] = DEFAULT_RIG_ID,
    ready_fd: Annotated[int, typer.Option(hidden=True)] = -1,
) -> None:
    """Run a mesh of two nodes on this machine under load, change it live, and say how it went.

    Exit status 0 when no request failed and every node showed traffic
    through Envoy and the sockhash; 1 when not; 3 when this machine cannot run it.
    """
    console = Console(stderr=output is Output.JSON)
    if not console.is_terminal:
        console = Console(stderr=output is Output.JSON, width=_LOG_COLUMNS)
    problem = _problem(folder, rig_id, down=down)
    if problem:
        console.print(f"[red]✗[/] {problem}", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_MACHINE)
    if down:
        for line in take_down(rig_id) or ["no demo is up, and none left anything"]:
            console.print(line, highlight=False, soft_wrap=True)
        return
    take_down(rig_id)
    plain = plain or not console.is_terminal or output is Output.JSON
    if keep and ready_fd < 0:
        arguments = ["--keep", "--folder", str(folder), "--seconds", str(seconds)]
        arguments += ["--kube"] if kube else []
        arguments += ["--rig", rig_id, "-o", output.value, *(["--plain"] if plain else [])]
        status = run_kept(arguments)
        if status in (0, 1):
            console.print(
                "The demo goes on: [bold]culvert status[/] looks at it, "
                "[bold]culvert demo --down[/] ends it.",
            )
        raise typer.Exit(status)

    def after(reading: Reading) -> None:
        if output is Output.JSON:
            typer.echo(_json(reading))
        if keep:
            let_go(ready_fd, int(bool(shortcomings(reading))), RUN_DIRECTORY / rig_id / "demo.log")

    try:
        with Screen(console, plain=plain) as screen:
            reading = run_demo(DemoOptions(folder, seconds, keep, rig_id, kube), screen, after)
    except KeyboardInterrupt:
        console.print("stopped; everything was taken down")
        raise typer.Exit(130) from None
    except NotReadyError as error:
        remedy = "make setup installs what is missing; docs/troubleshoot.md says more"
        console.print(f"[red]✗[/] {error}; {remedy}", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_MACHINE) from None
    except PermissionError as error:
        remedy = "it takes CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_BPF; a container: --privileged"
        console.print(f"[red]✗[/] {error}: {remedy}", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_MACHINE) from None
    except (RuntimeError, OSError, HelmError, KubectlError, MissingProgramError) as error:
        console.print(f"[red]✗[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_MACHINE) from None
    if output is Output.TABLE:
        console.print(
            "Look closer: [bold]culvert demo --keep[/] leaves it up, then [bold]culvert status[/]; "
            "docs/demo.md says what to try.",
            soft_wrap=True,
        )
    if shortcomings(reading):
        raise typer.Exit(1)


def _json(reading: Reading) -> str:
    document = {
        "reading": reading,
        "requests": reading.requests,
        "failures": reading.failures,
        "shortcomings": shortcomings(reading),
    }
    return msgspec.json.encode(document).decode()


def _problem(folder: Path, rig_id: str, *, down: bool) -> str:
    """Why no demo can start, or be taken down, here; empty when it can."""
    if os.geteuid() != 0:
        return "the demo makes network namespaces and loads BPF programs: run it as root"
    try:
        find_mount()
    except NoCgroup2Error as error:
        return str(error)
    if down:
        return ""
    if not folder.is_dir():
        return f"{folder} is no folder: name one with --folder"
    if not manifests_of(folder):
        return f"{folder} holds no manifest (.yaml, .yml, .json): name another with --folder"
    pid = owner(rig_id)
    if pid is not None:
        return f"a demo is up already (process {pid}): end it with culvert demo --down"
    return ""
