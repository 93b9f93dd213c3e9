"""What the API server asks the kubelet of a node: ``/exec`` and ``/containerLogs`` over HTTPS.

The kubelet's other paths are not served. Clients show a certificate, and only the API server's is
let in: who can exec here can do anything on this machine.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Middleware

from culvert.rig.container import ContainerRunner
from culvert.rig.kube.exec_stream import serve_exec
from culvert.rig.kube.log_stream import serve_log

Find = Callable[[tuple[str, str], str], ContainerRunner | None]
"""By namespace and name of the pod, and the container's name."""

_SHUTDOWN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class KubeletIdentity:
    """A serving certificate for ``node_object.KUBELET_HOST``, and who may ask; PEM files."""

    certificate: Path
    key: Path
    client_ca: Path
    client_name: str
    """Common name in the API server's client certificate."""


@asynccontextmanager
async def kubelet_api(identity: KubeletIdentity, find: Find) -> AsyncIterator[int]:
    """Serve on a free port of this machine's loopback, and give the port.

    Raises:
        OSError: a file cannot be read, or no port be had.
        ssl.SSLError: a file holds something else.
    """
    application = web.Application(middlewares=[_only(identity.client_name)])
    for path, serve in (("exec", serve_exec), ("containerLogs", serve_log)):
        application.router.add_route(
            "*", f"/{path}/{{namespace}}/{{pod}}/{{container}}", _with_container(find, serve)
        )
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_tls(identity))
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _tls(identity: KubeletIdentity) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(identity.client_ca))
    context.load_cert_chain(identity.certificate, identity.key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _only(client_name: str) -> Middleware:
    @web.middleware
    async def checked(
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        shown = request.get_extra_info("peercert") or {}
        subject = {name: value for part in shown.get("subject", ()) for name, value in part}
        if subject.get("commonName") != client_name:
            raise web.HTTPForbidden(text="this kubelet answers to its API server alone")
        return await handler(request)

    return checked


def _with_container(
    find: Find, serve: Callable[[web.Request, ContainerRunner], Awaitable[web.StreamResponse]]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def found(request: web.Request) -> web.StreamResponse:
        asked = request.match_info
        key, name = (asked["namespace"], asked["pod"]), asked["container"]
        runner = find(key, name)
        if runner is None:
            raise web.HTTPNotFound(text=f"no container {name} of pod {'/'.join(key)} runs here")
        return await serve(request, runner)

    return found
