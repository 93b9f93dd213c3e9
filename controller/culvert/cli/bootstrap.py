"""``culvert bootstrap``: the file that a node's Envoy starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from culvert.compile.bootstrap import (
    MAX_CONNECTIONS,
    MAX_HEAP_BYTES,
    bootstrap_json,
    compile_bootstrap,
)


def bootstrap(
    *,
    node: Annotated[str, typer.Option(help="Name of this node.")],
    xds_socket: Annotated[Path, typer.Option(help="The agent's socket.")] = Path(
        "/run/culvert/agent/xds.sock"
    ),
    admin_socket: Annotated[Path, typer.Option(help="For Envoy's admin interface.")] = Path(
        "/run/culvert/proxy/admin.sock"
    ),
    max_heap_bytes: Annotated[
        int, typer.Option(min=1 << 26, help="Heap at which Envoy refuses new connections.")
    ] = MAX_HEAP_BYTES,
    max_connections: Annotated[
        int, typer.Option(min=1, help="Most downstream connections.")
    ] = MAX_CONNECTIONS,
    identity: Annotated[
        bool, typer.Option("--identity", help="For a mesh whose pods have certificates.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: standard output.")
    ] = None,
) -> None:
    """Write the bootstrap of this node's Envoy."""
    text = bootstrap_json(
        compile_bootstrap(
            node,
            str(xds_socket),
            str(admin_socket),
            max_heap_bytes=max_heap_bytes,
            max_connections=max_connections,
            identity=identity,
        )
    )
    if output is None:
        typer.echo(text)
        return
    output.write_text(text + "\n")
