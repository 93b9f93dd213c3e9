"""The certificate authority of a mesh without Kubernetes: one process, a Unix socket for each node.

A socket lies in its node's run directory, which nobody else may enter, so it says who asks. What a
node may ask for is what the manifests put on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from aiohttp import web

from culvert.compile.mesh_settings import settings_in_force
from culvert.identity.authority import Authority, Lifetimes
from culvert.identity.holder import AuthorityHolder
from culvert.identity.issuing import NodeOf, make_issuing_application
from culvert.identity.state_file import read_state, write_state
from culvert.model.identity import Identity
from culvert.model.settings import Settings
from culvert.model.workload import Phase
from culvert.model.world import World
from culvert.sources.manifests import ManifestSource
from culvert.status.server import serve

_ADVANCE_SECONDS = 1.0
_FINISHED = (Phase.SUCCEEDED, Phase.FAILED)


@dataclass(frozen=True, slots=True)
class AuthorityOptions:
    """``sockets`` is where each node asks, by its name.

    The keys are in memory alone, and each start has a new root, unless there is a
    ``state_directory``.
    """

    manifests: Path
    sockets: Mapping[str, Path]
    trust_domain: str = "cluster.local"
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    state_directory: Path | None = None


class EmbeddedAuthority:
    """Issues until cancelled."""

    def __init__(self, options: AuthorityOptions) -> None:
        """Read what a predecessor left.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        self._options = options
        authority = Authority(options.trust_domain, options.lifetimes)
        self._holder = AuthorityHolder(authority)
        directory = options.state_directory
        if directory is not None:
            signers = read_state(directory)
            self._holder = AuthorityHolder(
                Authority(options.trust_domain, options.lifetimes, signers),
                changed=lambda now: write_state(directory, now.signers),
            )
        self._settings = Settings(identity=True, trust_domain=options.trust_domain)
        self._source = ManifestSource((options.manifests,))
        self._reading = asyncio.Lock()

    async def run(self) -> None:
        """Serve every socket.

        Raises:
            OSError: a socket cannot be made.
        """
        self._holder.advance()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._advance())
            for node, path in self._options.sockets.items():
                application = make_issuing_application(
                    self._holder, _always(node), self._accounts_on
                )
                tasks.create_task(serve(application, path))

    async def _advance(self) -> None:
        while True:
            await asyncio.sleep(_ADVANCE_SECONDS)
            await self._world()
            self._holder.advance()

    async def _world(self) -> World:
        """The manifests as they are now; what did not change is not read again."""
        async with self._reading:
            world = await asyncio.to_thread(self._source.read)
        settings = settings_in_force(self._settings, world.mesh_config)
        self._holder.trust_domain = settings.trust_domain
        return world

    async def _accounts_on(self, node: str, _identity: Identity) -> Collection[tuple[str, str]]:
        return {
            (workload.namespace, workload.service_account)
            for workload in (await self._world()).workloads.values()
            if workload.node == node and workload.phase not in _FINISHED
        }


def _always(node: str) -> NodeOf:
    return partial(_node_of, node)


async def _node_of(node: str, _request: web.Request) -> str:
    return node
