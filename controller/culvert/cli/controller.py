"""``culvert controller``: one replica of the controller, in the foreground."""

from __future__ import annotations

import asyncio
import socket
import uuid
from pathlib import Path
from typing import Annotated

import structlog
import typer

from culvert.cli.exit_status import EXIT_LEADERSHIP_LOST, EXIT_MACHINE
from culvert.cli.http_address import HttpAddress, parse_http_address
from culvert.cli.identity_options import parse_lifetime, parse_trust_domain
from culvert.cli.json_log import log_as_json
from culvert.cli.until_signalled import until_signalled
from culvert.control.election import LeadershipLostError
from culvert.controller_app import Controller, ControllerOptions
from culvert.controller_authority import ControllerAuthorityOptions
from culvert.controller_authority import authority_secret as own_secret
from culvert.kube.errors import AccessError
from culvert.model.settings import Settings

# Callers are authenticated, and only the leader listens.
_REPORTS_ADDRESS = HttpAddress("0.0.0.0", 15443)
_HTTP_ADDRESS = HttpAddress("127.0.0.1", 15024)


def controller(
    *,
    namespace: Annotated[str, typer.Option(help="Namespace of the controller.")],
    service: Annotated[
        str, typer.Option(help="Its Service; the Lease has the same name.")
    ] = "culvert-controller",
    agent_service_account: Annotated[
        str, typer.Option(help="Service account of the agents, the only one that may report.")
    ] = "culvert-agent",
    reports_address: Annotated[
        HttpAddress,
        typer.Option(
            parser=parse_http_address,
            metavar="ADDRESS:PORT",
            help="Where agents report, by TLS. They find it by itself, or 0.0.0.0 by the Service.",
        ),
    ] = _REPORTS_ADDRESS,
    http_address: Annotated[
        HttpAddress,
        typer.Option(
            parser=parse_http_address, metavar="ADDRESS:PORT", help="Serve health and metrics here."
        ),
    ] = _HTTP_ADDRESS,
    identity: Annotated[
        str, typer.Option(envvar="POD_NAME", help="Name of this replica; default: the host's.")
    ] = "",
    kubeconfig: Annotated[
        Path | None,
        typer.Option(help="For the API; by default $KUBECONFIG, else the pod's service account."),
    ] = None,
    issue_certificates: Annotated[
        bool, typer.Option("--issue-certificates", help="Be the pods' certificate authority.")
    ] = False,
    trust_domain: Annotated[
        str, typer.Option(help="The SPIFFE trust domain, where the MeshConfig says none.")
    ] = Settings().trust_domain,
    certificate_lifetime: Annotated[
        str, typer.Option(help="How long a workload's certificate holds, 10m to 168h.")
    ] = "24h",
    authority_secret: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Secret with tls.crt, tls.key, ca.crt of an authority; default: its own.",
        ),
    ] = "",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Write what became of objects on all nodes into their status, and findings as Events."""
    log_as_json(log_level)
    log = structlog.get_logger(__name__)
    authority = ControllerAuthorityOptions(
        parse_trust_domain("--trust-domain", trust_domain),
        parse_lifetime("--certificate-lifetime", certificate_lifetime),
        authority_secret,
    )
    if authority_secret == own_secret(service):
        raise typer.BadParameter(
            f"--authority-secret: '{authority_secret}' is where the controller writes; use another"
        )
    # A container that starts again in the same pod is another candidate.
    candidate = f"{identity or socket.gethostname()}_{uuid.uuid4().hex[:8]}"
    options = ControllerOptions(
        namespace=namespace,
        service=service,
        identity=candidate,
        agent_service_account=agent_service_account,
        reports_address=reports_address,
        http_address=http_address,
        kubeconfig=kubeconfig,
        authority=authority if issue_certificates else None,
    )
    status = 0
    try:
        asyncio.run(until_signalled(Controller(options).run()))
    except* LeadershipLostError as group:
        status = EXIT_LEADERSHIP_LOST
        log.error("ends, for another may lead", reason=str(_innermost(group)))
    except* (AccessError, OSError) as group:
        status = EXIT_MACHINE
        log.error("the controller cannot run here", reason=str(_innermost(group)))
    if status:
        raise typer.Exit(status)


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
