"""``culvert check``: whether the mesh that Helm installed in a cluster is up."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from culvert.cli.exit_status import EXIT_MACHINE
from culvert.installation.judge import Verdict, judge
from culvert.installation.read import read_installation
from culvert.kube.client import KubeClient
from culvert.kube.errors import AccessError, ApiError, ApiUnreachable


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


def check(
    *,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", envvar="POD_NAMESPACE", help="Of the release.")
    ] = "culvert-system",
    kubeconfig: Annotated[
        Path | None,
        typer.Option(help="By default $KUBECONFIG, else the pod's service account."),
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o")] = Output.TABLE,
) -> None:
    """Look whether every part of the mesh in a cluster runs.

    Exit status 1 when one does not, 3 when the API cannot be asked.
    """
    try:
        verdicts = asyncio.run(_ask(namespace, kubeconfig))
    except (ApiError, ApiUnreachable, AccessError, msgspec.MsgspecError) as error:
        typer.echo(f"✗ the Kubernetes API cannot be asked: {error}", err=True)
        raise typer.Exit(EXIT_MACHINE) from None
    if output is Output.JSON:
        typer.echo(msgspec.json.encode(verdicts).decode())
    else:
        _print_table(verdicts)
    if not all(one.passed for one in verdicts):
        raise typer.Exit(1)


async def _ask(namespace: str, kubeconfig: Path | None) -> list[Verdict]:
    async with KubeClient.load(kubeconfig) as api:
        return judge(await read_installation(api, namespace))


def _print_table(verdicts: list[Verdict]) -> None:
    table = Table.grid(padding=(0, 2))
    for one in verdicts:
        table.add_row("[green]✓[/]" if one.passed else "[red]✗[/]", one.name, one.detail)
        if one.remedy:
            table.add_row("", "", f"→ {one.remedy}")
    Console().print(table)
