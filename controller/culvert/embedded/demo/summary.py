"""The summary at the end, from values to renderables; pure."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from culvert.embedded.demo.readings import Reading, client_counts, shortcomings
from culvert.embedded.demo.view import bytes_text, failures


def summary(reading: Reading) -> RenderableType:
    """How it ended: each client, each node, and whether all is as it should be."""
    return Group(
        Text(),
        _clients(reading),
        _nodes(reading),
        Text("HTTP by Envoy goes on counting after a client's last line.", style="dim"),
        _verdict(reading),
    )


def _clients(reading: Reading) -> Table:
    table = Table(header_style="bold", border_style="dim")
    for heading in ("client", "on", "service", "protocol"):
        table.add_column(heading)
    for heading in ("answered", "failed"):
        table.add_column(heading, justify="right")
    for client in reading.clients:
        table.add_row(
            client.pod,
            client.node,
            client.service,
            client.protocol.name,
            f"{client.requests:,}",
            failures(client),
        )
    return table


def _nodes(reading: Reading) -> Table:
    table = Table(header_style="bold", border_style="dim")
    table.add_column("node")
    for heading in (
        "HTTP by\nclients",
        "HTTP by\nEnvoy",
        "TCP bytes\nby clients",
        "TCP bytes\nby Envoy",
        "sockmap\nsends",
        "sockmap\nbytes",
        "of all\nbytes",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for node in reading.nodes:
        requests, tcp_bytes = client_counts(reading, node.name)
        table.add_row(
            node.name,
            f"{requests:,}",
            f"{node.envoy.requests:,}",
            bytes_text(tcp_bytes),
            bytes_text(node.envoy.tcp_sent_bytes),
            f"{node.kernel.sockmap_sends:,}",
            bytes_text(node.kernel.sockmap_bytes),
            f"{node.sockmap_share:.0%}",
        )
    return table


def _verdict(reading: Reading) -> Text:
    missing = shortcomings(reading)
    if missing:
        return Text("\n".join(f"✗ {one}" for one in missing), style="red")
    return Text(
        f"✓ {reading.requests:,} requests through every change, 0 failed requests; "
        "every one crossed Envoy,\n  and every node moved bytes from socket to socket"
        + _safe(reading),
        style="green",
    )


def _safe(reading: Reading) -> str:
    """What identities were good for; empty in a mesh without them."""
    text = ""
    if streams := sum(node.envoy.tls_streams for node in reading.nodes):
        connections = sum(node.envoy.tls_connections for node in reading.nodes)
        text += (
            f"\n✓ all between the nodes in mutual TLS: {streams:,} streams of pods in "
            f"{connections:,} connections"
        )
    if reading.refusals:
        text += f"\n✓ {reading.refusals:,} calls that a policy forbids, every one refused"
    return text
