"""The intake of a controller as a process of its own: ``python -m tests.bench.reports_intake N``.

It takes reports as the leader does, over TLS and from N nodes, and looks at what has changed as
often. Only the API server is missing: tokens are known from a table, and nothing is written.

Speaks JSON by lines. It says its ``Address`` first; then, for each generation of ``EDITED`` that it
is asked for, when (monotonic seconds of the machine) a look first counted it on all nodes.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec
from aiohttp import web
from culvert.control.aggregate import Aggregate
from culvert.control.intake import make_intake
from culvert.control.serving_certificate import make_serving_certificate
from culvert.model.refusal import RefusedError
from culvert.model.report import server_name

from tests.bench.reports_nodes import EDITED, node_name, token_of

_LOOK_SECONDS = 0.5
"""As ``culvert.controller_app`` does."""
NAMESPACE, SERVICE = "culvert-system", "culvert-controller"
SERVER_NAME = server_name(NAMESPACE, SERVICE)


class Address(msgspec.Struct, frozen=True):
    """Where reports go: a port on 127.0.0.1, and the certificate to trust (PEM)."""

    port_host: int
    certificate: str


class _Table:
    """Knows every token."""

    def __init__(self, nodes: int) -> None:
        self._nodes = {token_of(node): node_name(node) for node in range(nodes)}

    async def node_of(self, token: str) -> str:
        """Raises ``RefusedError``."""
        try:
            return self._nodes[token]
        except KeyError:
            raise RefusedError(401, "Unauthenticated", "not in the table") from None


class _Looks:
    """Looks at what has changed; ``counted`` has when a generation was first on all nodes."""

    def __init__(self, aggregate: Aggregate, nodes: int) -> None:
        self._aggregate = aggregate
        self._nodes = nodes
        self._generation = 1
        self.counted: asyncio.Queue[float] = asyncio.Queue()

    async def run(self) -> None:
        """Ends only by cancellation."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._aggregate.expire(time.monotonic())
            changes = self._aggregate.drain_changes()
            for key in changes.objects:
                tally = self._aggregate.tally(key, self._generation)
                if key == EDITED and tally.programmed == self._nodes:
                    self._generation += 1
                    self.counted.put_nowait(time.monotonic())
            if changes.findings:
                self._aggregate.findings()


async def _serve(nodes: int) -> None:
    aggregate = Aggregate(time.monotonic())
    identity = make_serving_certificate(NAMESPACE, SERVICE)
    runner = web.AppRunner(make_intake(aggregate, _Table(nodes)), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=identity.context)
    await site.start()
    _say(Address(runner.addresses[0][1], identity.certificate))
    looks = _Looks(aggregate, nodes)
    looking = asyncio.create_task(looks.run())
    try:
        while await asyncio.to_thread(sys.stdin.readline):
            _say(await looks.counted.get())
    finally:
        looking.cancel()
        await runner.cleanup()


def _say(value: Address | float) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
