"""``culvert uninstall``: take the data path off this node, or off every node of a cluster."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from culvert.cli.exit_status import EXIT_MACHINE
from culvert.kube.client import KubeClient
from culvert.kube.errors import AccessError, ApiError, ApiUnreachable
from culvert.kube.node_cleanup import NotCleanedError, clean_nodes
from culvert.redirect.removal import remove_data_path


def uninstall(
    *,
    bpf_root: Annotated[Path, typer.Option(help="The agent's directory in bpffs.")] = Path(
        "/sys/fs/bpf/culvert"
    ),
    stay: Annotated[bool, typer.Option(help="Do not end before SIGTERM.")] = False,
    done_file: Annotated[
        Path | None, typer.Option(help="Make this file when the node is clean.")
    ] = None,
    daemonset: Annotated[
        str, typer.Option(help="Instead of this node, clean all those of this DaemonSet.")
    ] = "",
    namespace: Annotated[str, typer.Option(help="Of the DaemonSet.")] = "culvert-system",
    kubeconfig: Annotated[
        Path | None,
        typer.Option(help="For the API; by default $KUBECONFIG, else the pod's service account."),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for all nodes.")] = 300.0,
) -> None:
    """Detach every program and remove every pin; connections that are open go on over TCP."""
    if daemonset:
        _clean_cluster(daemonset, namespace, kubeconfig, timeout)
        return
    removed = remove_data_path(bpf_root)
    for line in removed:
        typer.echo(f"removed {line}")
    if not removed:
        typer.echo(f"nothing of Culvert is pinned under {bpf_root}")
    if done_file is not None:
        done_file.touch()
    if stay:
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


def _clean_cluster(
    daemonset: str, namespace: str, kubeconfig: Path | None, timeout_seconds: float
) -> None:
    async def run() -> int:
        async with KubeClient.load(kubeconfig) as api:
            return await clean_nodes(api, namespace, daemonset, timeout_seconds)

    try:
        nodes = asyncio.run(run())
    except ApiError as error:
        if error.status == 404:
            typer.echo(f"there is no DaemonSet {namespace}/{daemonset}: nothing to clean")
            return
        typer.echo(f"not cleaned: {error}", err=True)
        raise typer.Exit(EXIT_MACHINE) from None
    except (NotCleanedError, ApiUnreachable, AccessError) as error:
        typer.echo(f"not cleaned: {error}", err=True)
        raise typer.Exit(EXIT_MACHINE) from None
    typer.echo(f"{nodes} nodes are clean")
