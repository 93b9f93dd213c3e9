"""The live view, from values to renderables; pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from culvert.embedded.demo.readings import ClientReading, NodeReading, Reading
from culvert.embedded.demo.scenario import Event

_BAR_CELLS = 20
_FINDINGS_SHOWN = 2


def live(reading: Reading, events: Sequence[Event], duration_seconds: float) -> RenderableType:
    """Everything on one screen of 100 columns and 35 lines."""
    left = max(0.0, duration_seconds - reading.at_seconds)
    title = f"[bold]Culvert demo[/]  {reading.at_seconds:.0f} s, {left:.0f} s to go"
    return Panel(
        Group(
            clients_table(reading.clients),
            _side_by_side([node_panel(node) for node in reading.nodes]),
            Text.assemble(f" {reading.requests:,} requests answered, ", _failed(reading.failures)),
            *(event_line(event) for event in events),
            *(_finding_line(finding) for finding in reading.findings[:_FINDINGS_SHOWN]),
        ),
        title=title,
        border_style="dim",
    )


def clients_table(clients: Sequence[ClientReading]) -> Table:
    """Who talks to whom."""
    table = Table(box=None, expand=True, padding=(0, 1), header_style="dim")
    table.add_column("client → service", no_wrap=True, min_width=31)
    for heading in ("req/s", "p50 ms", "p99 ms", "failed"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=6)
    table.add_column("answered by", ratio=1, no_wrap=True, overflow="ellipsis")
    for client in clients:
        table.add_row(
            Text.assemble(
                f"{client.pod} → {client.service} ",
                (f"{client.protocol.name}, {client.node}", "dim"),
            ),
            f"{client.per_second:,}",
            _milliseconds(client.p50_ms),
            _milliseconds(client.p99_ms),
            failures(client),
            answered_by(client.answers),
        )
    return table


def failures(client: ClientReading) -> Text:
    """What of a client's calls was not answered."""
    if client.is_refused:
        return Text(f"{client.failures:,} refused", style="cyan")
    return Text(f"{client.failures:,}", style=_style(client.failures))


def answered_by(pods: Sequence[str]) -> str:
    """Pods, the name of a Deployment written once: ``web: 7dqnz 98crq``."""
    groups: dict[str, list[str]] = {}
    for pod in pods:
        parts = pod.split("-")
        owner = "-".join(parts[:-2]) if len(parts) > 2 else ""
        groups.setdefault(owner, []).append(parts[-1] if owner else pod)
    return ", ".join(
        f"{owner}: {' '.join(names)}" if owner else " ".join(names)
        for owner, names in groups.items()
    )


def node_panel(node: NodeReading) -> Panel:
    """One node: what crossed Envoy, and by which path bytes moved."""
    kernel, envoy = node.kernel, node.envoy
    facts = Table.grid(padding=(0, 1))
    facts.add_column(style="dim")
    facts.add_column(no_wrap=True, overflow="ellipsis")
    facts.add_row("Envoy", f"{envoy.requests:,} requests, {envoy.tcp_connections:,} TCP conns")
    if envoy.tls_connections:
        tls = (
            f"{envoy.tls_streams:,} streams in {envoy.tls_connections:,} connections to other nodes"
        )
        facts.add_row("mutual TLS", tls)
    facts.add_row("captured", f"{kernel.captured:,} connections")
    facts.add_row("sockmap", f"{kernel.sockmap_sends:,} sends, {bytes_text(kernel.sockmap_bytes)}")
    facts.add_row("TCP here", f"{kernel.tcp_sends:,} sends, {bytes_text(kernel.tcp_bytes)}")
    facts.add_row("TCP away", f"{bytes_text(node.other_bytes)} with other nodes")
    top = sorted(kernel.tcp_reasons.items(), key=lambda one: -one[1])[:2]
    reasons = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in top)
    facts.add_row("why TCP", reasons or ("peer on another node" if node.other_bytes else "-"))
    filled = round(node.sockmap_share * _BAR_CELLS)
    bar = Text("█" * filled, style="green") + Text("░" * (_BAR_CELLS - filled), style="dim")
    facts.add_row("bytes", bar + Text(f" {node.sockmap_share:.0%} by sockmap"))
    state = f"acceleration {kernel.acceleration}"
    if not node.agent_answers:
        state = "[yellow]agent away[/]"
    return Panel(facts, title=f"[bold]{node.name}[/] {state}", border_style="dim")


def event_line(event: Event) -> Text:
    """A change, and what clients saw from then to the next one."""
    return Text.assemble(
        (f"{event.at_seconds:4.0f} s  ", "dim"),
        ("✓ " if event.done else "… ", "green" if event.done else "yellow"),
        f"{event.text}: ",
        effect(event),
        no_wrap=True,
        overflow="ellipsis",
    )


def effect(event: Event) -> Text:
    """What clients saw since a change."""
    return Text.assemble(f"{event.requests:,} answered, ", _failed(event.failures))


def plain_line(reading: Reading) -> str:
    """One moment as one line, for logs."""
    rate = sum(client.per_second for client in reading.clients)
    nodes = "; ".join(
        f"{node.name}: Envoy {node.envoy.requests:,} requests "
        f"{node.envoy.tcp_connections:,} TCP, sockmap {node.kernel.sockmap_sends:,} sends "
        f"{node.sockmap_share:.0%} of bytes"
        for node in reading.nodes
    )
    return f"{reading.at_seconds:5.1f} s  {rate:,} req/s, {reading.failures} failed; {nodes}"


def bytes_text(count: int) -> str:
    """A number of bytes in the unit that suits it."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def _side_by_side(panels: Sequence[Panel]) -> Table:
    grid = Table.grid(expand=True)
    for _ in panels:
        grid.add_column(ratio=1)
    grid.add_row(*panels)
    return grid


def _finding_line(finding: str) -> Text:
    return Text(f"    ! {finding}", style="yellow", overflow="ellipsis", no_wrap=True)


def _failed(count: int) -> Text:
    return Text(f"{count:,} failed", style=_style(count))


def _style(failures: int) -> str:
    return "bold red" if failures else "green"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
