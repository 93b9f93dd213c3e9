"""Entry point of the ``culvert`` command; each subcommand has a file of its own.

Exit status: 0 done, 1 the thing asked for is not so, 2 wrong usage, 3 the machine cannot do it,
4 leadership lost.
"""

from __future__ import annotations

import typer

from culvert import __version__
from culvert.cli.agent import agent
from culvert.cli.analyze import analyze
from culvert.cli.authz import authz
from culvert.cli.bootstrap import bootstrap
from culvert.cli.ca import ca
from culvert.cli.check import check
from culvert.cli.controller import controller
from culvert.cli.demo import demo
from culvert.cli.load import load
from culvert.cli.status import status
from culvert.cli.uninstall import uninstall

application = typer.Typer(
    name="culvert",
    help="A sidecarless service mesh: eBPF sockets to one Envoy per node.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
application.command()(demo)
application.command()(status)
application.command()(analyze)
application.command()(authz)
application.command()(check)
application.command()(agent)
application.command()(controller)
application.command()(ca)
application.command()(load)
application.command()(bootstrap)
application.command()(uninstall)


@application.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the command line."""
    application()
