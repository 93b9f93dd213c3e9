"""The Kubernetes API as a source of worlds, as one node needs them.

The first world comes when every kind has been read once: an agent that starts while the API is away
gives none, and what the node's maps hold stays. Afterwards an API that is away changes nothing but
``health``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from culvert.kube.reflector import Health, Reflector, WatchApi
from culvert.model.finding import Finding
from culvert.model.settings import Settings
from culvert.model.world import World
from culvert.sources.kubernetes.kind import Items, Kind
from culvert.sources.kubernetes.kinds import agent_kinds

QUIET_SECONDS = 0.02
"""Changes that follow each other more closely than this make one world together."""
MAX_DELAY_SECONDS = 0.2
"""A world is not held back longer than this, however long changes go on."""

MakeReflector = Callable[[WatchApi, Kind, Callable[[], None]], Reflector[Any]]


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """How good the picture of the cluster is, by the kinds' names.

    ``stale`` maps the kinds that are not followed now to the UNIX time, in seconds, since when.
    """

    synced: bool
    stale: Mapping[str, float]
    absent: tuple[str, ...]
    kinds: Mapping[str, Health]


def reflector_of(api: WatchApi, kind: Kind, changed: Callable[[], None]) -> Reflector[Any]:
    """A reflector as the kind asks for it."""
    return Reflector(
        api,
        kind.path,
        kind.decode,
        changed=changed,
        field_selector=kind.field_selector,
        label_selector=kind.label_selector,
        optional=kind.optional,
    )


class KubernetesSource:
    """Watches what one node needs. ``watch`` may run once at a time."""

    def __init__(
        self,
        api: WatchApi,
        *,
        node: str,
        kinds: tuple[Kind, ...] | None = None,
        settings: Settings | None = None,
        make_reflector: MakeReflector = reflector_of,
    ) -> None:
        self._kinds = agent_kinds(node) if kinds is None else kinds
        self._world = World(settings=settings or Settings())
        self._change = asyncio.Event()
        self._reflectors = tuple(
            make_reflector(api, kind, self._change.set) for kind in self._kinds
        )
        self._made_from: dict[str, tuple[Items, ...]] = {}
        self.resource_versions: Mapping[str, str] = {}
        """How far the last world had come, by the kinds' names."""

    def health(self) -> SourceHealth:
        """How good the picture is now."""
        by_kind = {
            kind.name: reflector.health
            for kind, reflector in zip(self._kinds, self._reflectors, strict=True)
        }
        return SourceHealth(
            synced=all(health.synced for health in by_kind.values()),
            stale={
                name: health.stale_since_seconds
                for name, health in by_kind.items()
                if health.stale_since_seconds is not None
            },
            absent=tuple(name for name, health in by_kind.items() if health.absent),
            kinds=by_kind,
        )

    async def watch(self) -> AsyncIterator[World]:
        """The world once it is known, then another whenever it has changed. Ends by cancellation.

        Mappings and objects that did not change are those of the world before.
        """
        followers = asyncio.create_task(self._follow())
        followers.add_done_callback(lambda _: self._change.set())
        is_first = True
        try:
            while True:
                await self._change.wait()
                await self._let_burst_pass()
                if followers.done():
                    followers.result()
                if not all(reflector.health.synced for reflector in self._reflectors):
                    continue
                world = self._assemble()
                self.resource_versions = {
                    kind.name: reflector.resource_version
                    for kind, reflector in zip(self._kinds, self._reflectors, strict=True)
                }
                if is_first or world is not self._world:
                    is_first, self._world = False, world
                    yield world
        finally:
            followers.cancel()
            await asyncio.gather(followers, return_exceptions=True)

    async def _follow(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for reflector in self._reflectors:
                tasks.create_task(reflector.run())

    async def _let_burst_pass(self) -> None:
        """Return when no change has come for a moment, or when it has been long enough."""
        clock = asyncio.get_running_loop().time
        latest_seconds = clock() + MAX_DELAY_SECONDS
        while self._change.is_set() and clock() < latest_seconds:
            self._change.clear()
            await asyncio.sleep(min(QUIET_SECONDS, max(0.0, latest_seconds - clock())))
        self._change.clear()

    def _assemble(self) -> World:
        """The world as it is now; the last one where nothing in it has changed."""
        items: dict[str, list[tuple[Kind, Items]]] = {}
        for kind, reflector in zip(self._kinds, self._reflectors, strict=True):
            items.setdefault(kind.field, []).append((kind, reflector.items))
        changes: dict[str, Any] = {}
        for field, parts in items.items():
            made_from = tuple(part for _, part in parts)
            have = self._made_from.get(field)
            if have is None or any(a is not b for a, b in zip(have, made_from, strict=True)):
                changes[field] = _together(parts)
                self._made_from[field] = made_from
        findings = self._findings()
        if findings != self._world.findings:
            changes["findings"] = findings
        return msgspec.structs.replace(self._world, **changes) if changes else self._world

    def _findings(self) -> tuple[Finding, ...]:
        found = {finding for reflector in self._reflectors for finding in reflector.findings}
        return tuple(sorted(found))


def _together(parts: list[tuple[Kind, Items]]) -> object:
    (kind, items), *others = parts
    if not others:
        return kind.arrange(items)
    merged = dict(items)
    for _, more in others:
        merged.update(more)
    return kind.arrange(merged)
