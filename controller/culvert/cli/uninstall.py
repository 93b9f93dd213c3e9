"""``culvert uninstall``: take the data path off this node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from culvert.redirect.removal import remove_data_path


def uninstall(
    *,
    bpf_root: Annotated[Path, typer.Option(help="The agent's directory in bpffs.")] = Path(
        "/sys/fs/bpf/culvert"
    ),
) -> None:
    """Detach every program and remove every pin; connections that are open go on over TCP."""
    removed = remove_data_path(bpf_root)
    for line in removed:
        typer.echo(f"removed {line}")
    if not removed:
        typer.echo(f"nothing of Culvert is pinned under {bpf_root}")
