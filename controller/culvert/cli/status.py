"""``culvert status``: what the agents on this machine say about themselves."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table

from culvert.embedded.unix_http import fetch
from culvert.status.document import AgentStatus, IdentityStatus, ReportStatus, SourceStatus

RUN_DIRECTORY = Path("/run/culvert")
_POLL_SECONDS = 0.5


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


def agent_sockets(directory: Path) -> list[Path]:
    """Status sockets of every agent below ``directory``, installed or of a demo."""
    return sorted(directory.rglob("status.sock"))


def status(
    *,
    socket: Annotated[
        list[Path] | None, typer.Option(help="Status socket of an agent; default: all here.")
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o")] = Output.TABLE,
    wait: Annotated[float, typer.Option(help="Wait so many seconds for readiness.")] = 0.0,
) -> None:
    """Show every agent on this machine: readiness, acceleration and why, maps, findings.

    Exit status 1 when one is not ready or does not answer.
    """
    deadline = time.monotonic() + wait
    while True:
        documents, silent = _ask(socket or agent_sockets(RUN_DIRECTORY))
        ready = bool(documents) and not silent and all(one.ready for one in documents)
        if ready or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_SECONDS)
    if output is Output.JSON:
        typer.echo(msgspec.json.encode(documents).decode())
    else:
        console = Console()
        for document in documents:
            console.print(panel(document))
        for path in silent:
            console.print(f"[red]✗[/] no agent answers on {path}: is it running?")
        if not documents and not silent:
            console.print(f"no agent has a socket below {RUN_DIRECTORY}: is one running?")
    if not ready:
        raise typer.Exit(1)


def _ask(sockets: list[Path]) -> tuple[list[AgentStatus], list[Path]]:
    documents, silent = [], []
    for path in sockets:
        try:
            _, body = fetch(path, "/status")
            documents.append(msgspec.json.decode(body, type=AgentStatus))
        except (OSError, msgspec.DecodeError):
            silent.append(path)
    return documents, silent


def panel(document: AgentStatus) -> Panel:
    """One agent as a panel."""
    facts = Table.grid(padding=(0, 2))
    facts.add_row("capture", document.capture)
    facts.add_row("acceleration", _acceleration(document))
    for case in document.self_test:
        facts.add_row(
            "", f"{'[green]✓[/]' if case.passed else '[red]✗[/]'} {case.name}: {case.detail}"
        )
    synced = sum(proxy.synced for proxy in document.proxies)
    facts.add_row("proxy", f"{document.proxy_listeners} sockets listening, {synced} synced")
    facts.add_row("programs", f"sources {document.source_sha256[:12]}, kernel {document.kernel}")
    facts.add_row("source", _source(document.source))
    if document.reports is not None:
        facts.add_row("reports", _reports(document.reports))
    if document.identities is not None:
        facts.add_row("identities", _identities(document.identities))
    for pod, count in sorted(document.early_connections.items()):
        facts.add_row("", f"[yellow]![/] pod {pod}: {count:,} connections began before its capture")
    maps = Table("Map", "Entries", "Most", box=None)
    for one in document.maps:
        maps.add_row(one.name, f"{one.entries:,}", f"{one.max_entries:,}")
    verdicts = Table("Decision", "Times", "Payload bytes", box=None)
    for name, counted in document.verdicts.items():
        if counted.count:
            verdicts.add_row(
                name, f"{counted.count:,}", f"{counted.bytes:,}" if counted.bytes else ""
            )
    findings = [
        f"[yellow]![/] {one.code} {one.subject} {one.field}: {one.message} ({one.remedy})"
        for one in document.findings
    ]
    ready = "[green]ready[/]" if document.ready else "[red]not ready[/]"
    title = f"{document.node} {ready}, world {document.applied_generation}/{document.generation}"
    return Panel(Group(facts, "", maps, "", verdicts, *findings), title=title)


def _source(source: SourceStatus) -> str:
    if not source.synced:
        waiting = ", ".join(f"{name}: {error}" for name, error in source.errors.items())
        return f"{source.kind}, not read yet" + (f" ({waiting})" if waiting else "")
    if not source.stale_since_seconds:
        return source.kind
    since = datetime.fromtimestamp(min(source.stale_since_seconds.values()), UTC)
    kinds = ", ".join(sorted(source.stale_since_seconds))
    return f"{source.kind}, [yellow]not followed since {since:%Y-%m-%d %H:%M:%S} UTC[/]: {kinds}"


def _reports(reports: ReportStatus) -> str:
    if reports.acknowledged_seconds is None:
        return f"[yellow]none taken yet[/] {reports.error}".rstrip()
    at = datetime.fromtimestamp(reports.acknowledged_seconds, UTC)
    problem = f", [yellow]{reports.error}[/]" if reports.error else ""
    return f"taken at {at:%Y-%m-%d %H:%M:%S} UTC{problem}"


def _identities(identities: IdentityStatus) -> str:
    ends = [one.ends_seconds for one in identities.certificates if one.ends_seconds is not None]
    awaited = len(identities.certificates) - len(ends)
    text = f"{len(ends)} certificates of {identities.trust_domain}"
    if ends:
        text += f", the first ends at {datetime.fromtimestamp(min(ends), UTC):%Y-%m-%d %H:%M} UTC"
    return text + (f", [yellow]{awaited} awaited[/]" if awaited else "")


def _acceleration(document: AgentStatus) -> str:
    reason = document.acceleration_reason
    return document.acceleration + (f" ({reason})" if reason else "")
