"""The certificate authority of a mesh without Kubernetes: one process, a Unix socket for each node.

A socket lies in its node's run directory, which nobody else may enter, so it says who asks. What a
node may ask for is what the manifests put on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from aiohttp import web

from culvert.compile.targets import identity_of
from culvert.identity.authority import Authority, Lifetimes
from culvert.identity.issuing import AuthorityHolder, make_issuing_application
from culvert.model.identity import Identity
from culvert.model.settings import Settings
from culvert.model.world import World
from culvert.sources.manifests import ManifestSource
from culvert.status.server import serve

_log = structlog.get_logger(__name__)

_ADVANCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class AuthorityOptions:
    """``sockets`` is where each node asks, by its name."""

    manifests: Path
    sockets: Mapping[str, Path]
    trust_domain: str = "cluster.local"
    lifetimes: Lifetimes = field(default_factory=Lifetimes)


class EmbeddedAuthority:
    """Issues until cancelled. Its keys are in memory: it starts with a new root each time."""

    def __init__(self, options: AuthorityOptions) -> None:
        self._options = options
        self._holder = AuthorityHolder(Authority(options.trust_domain, options.lifetimes))
        self._settings = Settings(identity=True, trust_domain=options.trust_domain)
        self._world: World | None = None
        self._read = asyncio.Event()

    async def run(self) -> None:
        """Serve every socket.

        Raises:
            OSError: a socket cannot be made.
        """
        self._holder.advance()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._advance())
            for node, path in self._options.sockets.items():
                application = make_issuing_application(
                    self._holder, _always(node), self._identities_on
                )
                tasks.create_task(serve(application, path))

    async def _watch(self) -> None:
        async for world in ManifestSource((self._options.manifests,)).watch():
            self._world = world
            self._read.set()

    async def _advance(self) -> None:
        while True:
            await asyncio.sleep(_ADVANCE_SECONDS)
            self._holder.advance()

    async def _identities_on(self, node: str) -> Collection[Identity]:
        await self._read.wait()
        assert self._world is not None
        return {
            identity_of(workload, self._settings)
            for workload in self._world.workloads.values()
            if workload.node == node
        }


def _always(node: str):  # type: ignore[no-untyped-def]
    async def node_of(_request: web.Request) -> str:
        return node

    return node_of
