"""Health, metrics and the status document over HTTP on a Unix socket; the first two also by TCP."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from culvert.status.document import AgentStatus


def make_application(
    status: Callable[[], AgentStatus], registry: CollectorRegistry
) -> web.Application:
    """What ``make_probe_application`` serves, and ``/status``, which shows the node's traffic."""

    async def status_document(_request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(status()), content_type="application/json")

    application = make_probe_application(status, registry)
    application.add_routes([web.get("/status", status_document)])
    return application


def make_probe_application(
    status: Callable[[], AgentStatus], registry: CollectorRegistry
) -> web.Application:
    """What ``make_metrics_application`` serves, and ``/readyz``: the world is applied."""

    async def readyz(_request: web.Request) -> web.Response:
        now = status()
        text = "ok\n" if now.ready else f"applied {now.applied_generation} of {now.generation}\n"
        return web.Response(text=text, status=200 if now.ready else 503)

    application = make_metrics_application(registry)
    application.add_routes([web.get("/readyz", readyz)])
    return application


def make_metrics_application(registry: CollectorRegistry) -> web.Application:
    """``/healthz`` the process answers, ``/metrics``."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/metrics", metrics)])
    return application


async def serve(
    application: web.Application,
    where: Path | tuple[str, int],
    *,
    tls: ssl.SSLContext | None = None,
    listening: asyncio.Event | None = None,
) -> None:
    """Serve until cancelled, on a Unix socket, readable by its owner only, or an address and port.

    ``listening`` is set once connections are taken.

    Raises:
        OSError: the socket cannot be made.
    """
    listener = _listen(where) if isinstance(where, Path) else _listen_tcp(*where)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, listener, ssl_context=tls).start()
        if listening is not None:
            listening.set()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen()
    return listener


def _listen_tcp(address: str, port_host: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port_host), family=family)
