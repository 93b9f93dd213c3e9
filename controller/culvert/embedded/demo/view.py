"""The live view and the summary, from values to renderables; pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from culvert.embedded.demo.readings import ClientReading, NodeReading, Reading, shortcomings

_BAR_CELLS = 20


def live(reading: Reading, events: Sequence[str], duration_seconds: float) -> RenderableType:
    """Everything on one screen of 100 columns and 35 lines."""
    left = max(0.0, duration_seconds - reading.at_seconds)
    title = f"Culvert demo  {reading.at_seconds:4.0f} s, {left:.0f} s to go"
    failed = Text(f"{reading.failures} failed", style="red" if reading.failures else "green")
    total = Text.assemble(f"{reading.requests:,} requests answered, ", failed)
    return Panel(
        Group(
            clients_table(reading.clients),
            _side_by_side([node_panel(node) for node in reading.nodes]),
            total,
            *(
                Text(f"! {finding}", style="yellow", overflow="ellipsis", no_wrap=True)
                for finding in reading.findings[:2]
            ),
            Text("\n".join(events[-6:]), style="cyan"),
        ),
        title=title,
    )


def _side_by_side(panels: Sequence[Panel]) -> Table:
    grid = Table.grid(expand=True)
    for _ in panels:
        grid.add_column(ratio=1)
    grid.add_row(*panels)
    return grid


def clients_table(clients: Sequence[ClientReading]) -> Table:
    """Who talks to whom."""
    table = Table(box=None, expand=True, padding=(0, 1))
    for heading in ("client", "service"):
        table.add_column(heading, no_wrap=True)
    for heading in ("req/s", "p50 ms", "p99 ms", "failed"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("answered by", overflow="fold")
    for client in clients:
        table.add_row(
            f"{client.pod} ({client.node})",
            f"→ {client.service}",
            f"{client.per_second:,}",
            _milliseconds(client.p50_ms),
            _milliseconds(client.p99_ms),
            Text(str(client.failures), style="red" if client.failures else "green"),
            " ".join(short_name(pod) for pod in client.answers),
        )
    return table


def short_name(pod: str) -> str:
    """A Deployment's pod without the hash of its template: ``web-7dqnz``."""
    parts = pod.split("-")
    return f"{'-'.join(parts[:-2])}-{parts[-1]}" if len(parts) > 2 else pod


def node_panel(node: NodeReading) -> Panel:
    """One node: what crossed Envoy, and by which path bytes moved."""
    facts = Table.grid(padding=(0, 1))
    facts.add_row("Envoy", f"{node.envoy_requests:,} requests, {node.envoy_tcp_connections} TCP")
    facts.add_row("captured", f"{node.captured:,} connections")
    facts.add_row("sockmap", f"{node.sockmap_sends:,} sends, {_bytes(node.sockmap_bytes)}")
    facts.add_row("TCP", f"{node.tcp_sends:,} sends, {_bytes(node.tcp_bytes)}")
    filled = round(node.sockmap_share * _BAR_CELLS)
    bar = Text("█" * filled, style="green") + Text("░" * (_BAR_CELLS - filled), style="dim")
    facts.add_row("bytes", bar + Text(f" {node.sockmap_share:.0%} sockmap"))
    top = sorted(node.tcp_reasons.items(), key=lambda one: -one[1])[:2]
    facts.add_row("why TCP", ", ".join(f"{reason} {count:,}" for reason, count in top) or "-")
    return Panel(facts, title=f"{node.name}, acceleration {node.acceleration}")


def plain_line(reading: Reading) -> str:
    """One moment as one line, for logs."""
    rate = sum(client.per_second for client in reading.clients)
    nodes = "; ".join(
        f"{node.name}: {node.envoy_requests + node.envoy_tcp_connections:,} through Envoy, "
        f"{node.sockmap_share:.0%} of bytes by sockmap"
        for node in reading.nodes
    )
    return f"{reading.at_seconds:5.1f} s  {rate:,} req/s, {reading.failures} failed; {nodes}"


def summary(reading: Reading) -> RenderableType:
    """How it ended."""
    table = Table(title="What the demo showed", expand=False)
    table.add_column("client")
    table.add_column("service")
    table.add_column("answered", justify="right")
    table.add_column("failed", justify="right")
    for client in reading.clients:
        table.add_row(client.pod, client.service, f"{client.requests:,}", str(client.failures))
    nodes = Table(expand=False)
    for heading in (
        "node",
        "Envoy requests",
        "Envoy TCP",
        "sockmap sends",
        "sockmap bytes",
        "share of bytes",
    ):
        nodes.add_column(heading, justify="left" if heading == "node" else "right")
    for node in reading.nodes:
        nodes.add_row(
            node.name,
            f"{node.envoy_requests:,}",
            f"{node.envoy_tcp_connections:,}",
            f"{node.sockmap_sends:,}",
            _bytes(node.sockmap_bytes),
            f"{node.sockmap_share:.1%}",
        )
    missing = shortcomings(reading)
    verdict = (
        Text("\n".join(f"✗ {one}" for one in missing), style="red")
        if missing
        else Text(
            f"✓ {reading.requests:,} requests through every change, 0 failed; all crossed Envoy, "
            "and both nodes moved bytes socket to socket",
            style="green",
        )
    )
    return Group(table, nodes, verdict)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"
