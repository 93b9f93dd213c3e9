"""``culvert authz``: what the AuthorizationPolicies of some manifests say of one request."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from culvert.compile.authorization.aliases import with_aliases
from culvert.compile.authorization.evaluate import Decision, evaluate, rehearse
from culvert.compile.authorization.facts import Connection, HttpRequest
from culvert.compile.authorization.scope import policies_for
from culvert.model.key import ObjectKey
from culvert.model.policy import AuthorizationPolicy, MeshConfig
from culvert.model.workload import Workload
from culvert.model.world import World
from culvert.sources.manifests import ManifestSource

_TRUST_DOMAIN = "cluster.local"


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


class Answer(msgspec.Struct, frozen=True):
    """What is printed as JSON. ``policy`` is empty where none matched."""

    allowed: bool
    policy: str
    rule: int | None
    audited_by: list[str]
    dry_run: bool | None
    """What it would be with dry runs in force, where that is something else."""
    considered: list[str]


def authz(
    *,
    filename: Annotated[
        list[Path], typer.Option("--filename", "-f", help="File or folder; repeatable.")
    ],
    to: Annotated[str, typer.Option(metavar="NAMESPACE/POD", help="The pod that is called.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port of the pod.")],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="NAMESPACE/ACCOUNT",
            help="Service account of the caller; without it the caller has no identity.",
        ),
    ] = "",
    from_address: Annotated[str, typer.Option(help="Address of the caller.")] = "",
    method: Annotated[str, typer.Option(help="HTTP method; with it the port speaks HTTP.")] = "",
    path: Annotated[str, typer.Option(help="Path of the request.")] = "/",
    host: Annotated[str, typer.Option(help="Host of the request.")] = "",
    header: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A header; repeatable.")
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o")] = Output.TABLE,
) -> None:
    """Say what the AuthorizationPolicies of manifests make of one request, and which settles it.

    Exit status 1 when it is refused.
    """
    world = ManifestSource(tuple(filename)).read()
    pod = world.workloads.get(_key(to, "--to"))
    if pod is None:
        raise typer.BadParameter(f"there is no Pod {to} in the manifests", param_hint="--to")
    domains = _trust_domains(world)
    policies = tuple(with_aliases(one, domains) for one in policies_for(world, pod, port))
    connection = Connection(
        source_address=from_address,
        destination_address=pod.addresses[0] if pod.addresses else "",
        destination_port_host=port,
        principal=_principal(domains[0], source),
    )
    request = HttpRequest(method, host, path, _headers(header or [])) if method else None
    decision = evaluate(policies, connection, request)
    rehearsed = rehearse(policies, connection, request)
    if output is Output.JSON:
        typer.echo(msgspec.json.encode(_answer(decision, rehearsed, policies)).decode())
    else:
        _print(decision, rehearsed, policies, pod, port)
    if not decision.allowed:
        raise typer.Exit(1)


def _key(text: str, option: str) -> ObjectKey:
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise typer.BadParameter(f"'{text}' is not NAMESPACE/NAME", param_hint=option)
    return ObjectKey(namespace, name)


def _trust_domains(world: World) -> tuple[str, ...]:
    config = world.mesh_config or MeshConfig()
    return (config.trust_domain or _TRUST_DOMAIN, *(config.trust_domain_aliases or ()))


def _principal(trust_domain: str, source: str) -> str:
    if not source:
        return ""
    account = _key(source, "--from")
    return f"{trust_domain}/ns/{account.namespace}/sa/{account.name}"


def _headers(lines: list[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"'{line}' is not NAME=VALUE", param_hint="--header")
        found[name.lower()] = value
    return found


def _answer(
    decision: Decision, rehearsed: Decision | None, policies: tuple[AuthorizationPolicy, ...]
) -> Answer:
    return Answer(
        allowed=decision.allowed,
        policy=str(decision.by[0]) if decision.by else "",
        rule=decision.by[1] if decision.by else None,
        audited_by=[str(key) for key in decision.audited_by],
        dry_run=rehearsed.allowed if rehearsed else None,
        considered=[str(policy.key) for policy in policies],
    )


def _print(
    decision: Decision,
    rehearsed: Decision | None,
    policies: tuple[AuthorizationPolicy, ...],
    pod: Workload,
    port: int,
) -> None:
    console = Console(highlight=False)
    mark = "[green]✓ allowed[/]" if decision.allowed else "[red]✗ refused[/]"
    console.print(f"{mark}: {_why(decision)}")
    if rehearsed:
        verdict = "allowed" if rehearsed.allowed else "refused"
        console.print(f"  [yellow]![/] {verdict} if dry runs were in force: {_why(rehearsed)}")
    for key in decision.audited_by:
        console.print(f"  audited by AuthorizationPolicy {key}")
    names = ", ".join(str(policy.key) for policy in policies) or "none"
    console.print(f"  policies for port {port} of Pod {pod.key}: {names}")


def _why(decision: Decision) -> str:
    if decision.by:
        return f"by AuthorizationPolicy {decision.by[0]}, spec.rules\\[{decision.by[1]}]"
    if decision.allowed:
        return "no policy says otherwise"
    return "there are ALLOW policies, and none of them matches"
