"""``culvert ca``: the certificate authority of a mesh without Kubernetes, in the foreground."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import structlog
import typer

from culvert.cli.exit_status import EXIT_MACHINE
from culvert.cli.json_log import log_as_json
from culvert.cli.until_signalled import until_signalled
from culvert.embedded.authority import AuthorityOptions, EmbeddedAuthority
from culvert.identity.authority import Lifetimes
from culvert.model.duration import parse_duration_seconds
from culvert.model.identity import is_trust_domain


def ca(
    *,
    manifests: Annotated[Path, typer.Option(help="Folder that says which pods run where.")],
    socket: Annotated[
        list[str],
        typer.Option(metavar="NODE=PATH", help="Where a node's agent asks; repeatable."),
    ],
    trust_domain: Annotated[str, typer.Option(help="The SPIFFE trust domain.")] = "cluster.local",
    certificate_lifetime: Annotated[
        str, typer.Option(help="How long a workload's certificate holds, e.g. 24h.")
    ] = "24h",
    root_lifetime: Annotated[
        str, typer.Option(help="How long a root holds; the next one is made at half of it.")
    ] = "87600h",
    state: Annotated[
        Path | None,
        typer.Option(help="Directory for the keys, to go on after a restart; else in memory."),
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Issue certificates for the pods of a folder's manifests until told to stop."""
    log_as_json(log_level)
    if not is_trust_domain(trust_domain):
        raise typer.BadParameter(f"--trust-domain: '{trust_domain}' is not one")
    options = AuthorityOptions(
        manifests,
        dict(_socket(one) for one in socket),
        trust_domain,
        _lifetimes(
            _duration("--certificate-lifetime", certificate_lifetime),
            _duration("--root-lifetime", root_lifetime),
        ),
        state,
    )
    failed = False
    try:
        asyncio.run(until_signalled(EmbeddedAuthority(options).run()))
    except* (OSError, ValueError) as group:
        failed = True
        for error in group.exceptions:
            structlog.get_logger(__name__).error("cannot serve", reason=str(error))
    if failed:
        raise typer.Exit(EXIT_MACHINE)


def _lifetimes(certificate: timedelta, root: timedelta) -> Lifetimes:
    usual = Lifetimes()
    return Lifetimes(
        certificate=certificate,
        intermediate=min(usual.intermediate, root),
        root=root,
        # Agents fetch the roots at least six times in the life of a certificate.
        spread=min(usual.spread, certificate / 2),
    )


def _socket(text: str) -> tuple[str, Path]:
    node, equals, path = text.partition("=")
    if not (node and equals and path):
        raise typer.BadParameter(f"--socket: '{text}' is not NODE=PATH")
    return node, Path(path)


def _duration(option: str, text: str) -> timedelta:
    try:
        return timedelta(seconds=parse_duration_seconds(text))
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from None
