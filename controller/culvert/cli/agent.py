"""``culvert agent``: the node's agent, in the foreground."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import structlog
import typer

from culvert.agent.agent import Agent
from culvert.agent.options import AgentOptions, KubernetesAccess
from culvert.cli.exit_status import EXIT_MACHINE
from culvert.cli.http_address import HttpAddress, parse_http_address
from culvert.cli.identity_options import parse_trust_domain
from culvert.cli.json_log import log_as_json
from culvert.cli.until_signalled import until_signalled
from culvert.kube.errors import AccessError
from culvert.leader.connection import ControllerAccess
from culvert.model.duration import parse_duration_seconds
from culvert.model.settings import Settings
from culvert.redirect.attach import AttachError
from culvert.redirect.loading import LoaderError
from culvert.sources.cgroups import find_pods_cgroup
from culvert.xds.socket_path import SocketPathError


def agent(
    *,
    node: Annotated[str, typer.Option(help="Name of this node.")],
    pods_cgroup: Annotated[
        Path | None,
        typer.Option(help="cgroup v2 directory that holds the pods; default: the kubelet's."),
    ] = None,
    proxy_cgroup: Annotated[
        Path | None,
        typer.Option(help="cgroup v2 directory of the node's Envoy; default: it is in a pod."),
    ] = None,
    cgroup_root: Annotated[Path, typer.Option(help="Where cgroup v2 is mounted.")] = Path(
        "/sys/fs/cgroup"
    ),
    manifests: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of Kubernetes YAML, repeatable; without any: the API."),
    ] = None,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(help="For the API; by default $KUBECONFIG, else the pod's service account."),
    ] = None,
    bpf_root: Annotated[Path, typer.Option(help="Directory in bpffs for pins.")] = Path(
        "/sys/fs/bpf/culvert"
    ),
    run_directory: Annotated[
        Path, typer.Option(help="Sockets (xds.sock, status.sock) and state.")
    ] = Path("/run/culvert/agent"),
    without: Annotated[
        list[str] | None, typer.Option(help="Switch a feature off: acceleration.")
    ] = None,
    fail_open: Annotated[
        bool, typer.Option(help="With no proxy, connect directly instead of being refused.")
    ] = False,
    budget_bytes: Annotated[
        int, typer.Option(help="Most bytes queued at a receiver before sends go by TCP.")
    ] = Settings().receive_budget_bytes,
    max_redirect_bytes: Annotated[int, typer.Option(help="Larger sends go by TCP.")] = 1 << 30,
    http_address: Annotated[
        HttpAddress | None,
        typer.Option(
            parser=parse_http_address,
            metavar="ADDRESS:PORT",
            help="Serve health and metrics here too; they are always on the Unix socket.",
        ),
    ] = None,
    controller: Annotated[
        str | None,
        typer.Option(
            metavar="NAMESPACE/SERVICE",
            help="Service of the controller to report to, and to get certificates from.",
        ),
    ] = None,
    controller_token: Annotated[
        Path, typer.Option(help="File with the token to show to the controller.")
    ] = Path("/var/run/secrets/culvert.dev/controller/token"),
    identity: Annotated[
        bool,
        typer.Option("--identity", help="Give pods certificates, from the controller."),
    ] = False,
    accept_only: Annotated[
        bool,
        typer.Option(
            "--accept-only",
            help="Take mutual TLS from other nodes, and go to them without: while some have none.",
        ),
    ] = False,
    ca_socket: Annotated[
        Path | None,
        typer.Option(help="Give pods certificates, from the authority at this Unix socket."),
    ] = None,
    trust_domain: Annotated[
        str, typer.Option(help="The SPIFFE trust domain of the pods' identities.")
    ] = Settings().trust_domain,
    tunnel_lifetime: Annotated[
        str,
        typer.Option(help="How long a connection between nodes takes new streams, e.g. 1h."),
    ] = "1h",
    root_namespace: Annotated[
        str, typer.Option(help="Where a PeerAuthentication for no pods in particular is for all.")
    ] = Settings().root_namespace,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the node's agent until it is told to stop; the data path stays when it ends."""
    log_as_json(log_level)
    unknown = set(without or ()) - {"acceleration"}
    if unknown:
        raise typer.BadParameter(f"{sorted(unknown)}: only 'acceleration' can be switched off")
    log = structlog.get_logger(__name__)
    pods = pods_cgroup or find_pods_cgroup(cgroup_root)
    if pods is None:
        log.error(
            "the agent cannot run on this machine",
            reason=f"no kubelet's cgroup below {cgroup_root}: give --pods-cgroup",
        )
        raise typer.Exit(EXIT_MACHINE)
    options = AgentOptions(
        node=node,
        manifests=tuple(manifests or ()),
        kubernetes=None if manifests else KubernetesAccess(kubeconfig),
        pods_cgroup=pods,
        proxy_cgroup=proxy_cgroup or pods,
        cgroup_root=cgroup_root,
        bpf_root=bpf_root,
        xds_socket=run_directory / "xds.sock",
        status_socket=run_directory / "status.sock",
        state_directory=run_directory,
        settings=Settings(
            fail_open=fail_open,
            receive_budget_bytes=budget_bytes,
            redirect_max_bytes=max_redirect_bytes,
            identity=identity or ca_socket is not None,
            accept_only=accept_only,
            trust_domain=parse_trust_domain("--trust-domain", trust_domain),
            tunnel_connection_seconds=_seconds("--tunnel-lifetime", tunnel_lifetime),
            root_namespace=root_namespace,
        ),
        without=frozenset(without or ()),
        http_address=http_address,
        ca_socket=ca_socket,
        controller=_controller_access(controller, controller_token),
    )
    if manifests and controller:
        raise typer.BadParameter("--controller is for a mesh from the API, not from --manifests")
    if manifests and kubeconfig:
        raise typer.BadParameter("--kubeconfig is for the API, --manifests for folders: give one")
    if identity and not (controller or ca_socket):
        raise typer.BadParameter("--identity: certificates come from the --controller: give it")
    structlog.contextvars.bind_contextvars(node=node)
    failed = False
    try:
        asyncio.run(until_signalled(Agent(options).run()))
    except* (LoaderError, AttachError, SocketPathError, AccessError, OSError) as group:
        failed = True
        for error in group.exceptions:
            log.error("the agent cannot run on this machine", reason=str(error))
    if failed:
        raise typer.Exit(EXIT_MACHINE)


def _seconds(option: str, text: str) -> float:
    try:
        seconds = parse_duration_seconds(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from None
    if seconds < 1:
        raise typer.BadParameter(f"{option}: at least 1s")
    return seconds


def _controller_access(service: str | None, token: Path) -> ControllerAccess | None:
    if service is None:
        return None
    namespace, slash, name = service.partition("/")
    if not (namespace and slash and name):
        raise typer.BadParameter(f"--controller: '{service}' is not NAMESPACE/SERVICE")
    return ControllerAccess(namespace, name, token)
