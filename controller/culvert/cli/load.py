"""``culvert load``: compile, test and pin the programs, and end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import structlog
import typer

from culvert.cli.exit_status import EXIT_MACHINE
from culvert.cli.json_log import log_as_json
from culvert.redirect.loading import LoaderError, LoaderOptions, load_or_reuse
from culvert.redirect.report import LOAD_REPORT


def load(
    *,
    cgroup_root: Annotated[Path, typer.Option(help="Where cgroup v2 is mounted.")] = Path(
        "/sys/fs/cgroup"
    ),
    bpf_root: Annotated[Path, typer.Option(help="Directory in bpffs for pins.")] = Path(
        "/sys/fs/bpf/culvert"
    ),
    run_directory: Annotated[Path, typer.Option(help="Where the report goes.")] = Path(
        "/run/culvert/agent"
    ),
    without: Annotated[
        list[str] | None, typer.Option(help="Switch a feature off: acceleration.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Load what the agent attaches, with the capabilities that only this needs.

    The agent does it by itself where it may; after this it need not.
    """
    log_as_json(log_level)
    options = LoaderOptions(
        root=bpf_root,
        cgroup_root=cgroup_root,
        report_path=run_directory / LOAD_REPORT,
        without=frozenset(without or ()),
    )
    try:
        asyncio.run(load_or_reuse(options))
    except (LoaderError, OSError) as error:
        structlog.get_logger(__name__).error("nothing was loaded", reason=str(error))
        raise typer.Exit(EXIT_MACHINE) from error
