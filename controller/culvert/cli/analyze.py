"""``culvert analyze``: what the mesh would make of some manifests, with no cluster and no root."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from culvert.compile.node import compile_node
from culvert.model.finding import Finding, Severity
from culvert.sources.manifests import ManifestSource


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


def analyze(
    *,
    filename: Annotated[
        list[Path], typer.Option("--filename", "-f", help="File or folder; repeatable.")
    ],
    output: Annotated[Output, typer.Option("--output", "-o")] = Output.TABLE,
) -> None:
    """Compile manifests for every node they name, and print what is wrong with them.

    Exit status 1 when anything named is not in effect.
    """
    world = ManifestSource(tuple(filename)).read()
    nodes = sorted(world.nodes) or sorted({pod.node for pod in world.workloads.values()}) or [""]
    findings = sorted({one for node in nodes for one in compile_node(world, node).findings})
    if output is Output.JSON:
        typer.echo(msgspec.json.encode(findings).decode())
    else:
        _print_table(findings, len(nodes))
    if any(finding.severity is Severity.ERROR for finding in findings):
        raise typer.Exit(1)


def _print_table(findings: list[Finding], nodes: int) -> None:
    console = Console()
    if not findings:
        console.print(f"[green]✓[/] nothing to report, on {nodes} node{'s' if nodes != 1 else ''}")
        return
    table = Table("", "Code", "Object", "Field", "Problem", "Remedy")
    for one in findings:
        mark = "[red]✗[/]" if one.severity is Severity.ERROR else "[yellow]![/]"
        table.add_row(mark, one.code, one.subject, one.field, one.message, one.remedy)
    console.print(table)
