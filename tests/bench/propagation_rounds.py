"""The two ways of measuring: one change after another, and a minute of many at a steady rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from culvert.embedded.mesh_node import MeshNode

from tests.bench.process_memory import (
    cpu_seconds,
    forget_peak,
    peak_resident_bytes,
    resident_bytes,
)
from tests.bench.propagation_changes import Changes, Written
from tests.bench.propagation_figures import ENDPOINTS_CHANGED, SERVICE_ADDED, UnderLoad
from tests.bench.propagation_node import AppliedLog
from tests.bench.propagation_proof import Proof
from tests.bench.propagation_world import side_by_side

_SERVICE_EVERY = 10
"""Of so many changes under load one is of a Service: added, and the next time deleted."""
_MOST_ADDED = 25
_SETTLE_SECONDS = 0.5

Progress = Callable[[], None]


class Measuring:
    """Of one agent in one world."""

    def __init__(self, node: MeshNode, changes: Changes) -> None:
        self._node = node
        self._changes = changes
        self._log = AppliedLog(node.directory / "agent.log")
        self._proof = Proof(node)

    async def one_by_one(self, count: int, progress: Progress) -> dict[str, list[float]]:
        """So many changes of each kind, each once the one before has been applied: their delays.

        Raises:
            NotAppliedError: one was not applied.
            NotThereError: one was said to be, and was not.
        """
        delays: dict[str, list[float]] = {ENDPOINTS_CHANGED: [], SERVICE_ADDED: []}
        for _ in range(count):
            flipped = await self._changes.flip_endpoint()
            delays[flipped.change].append(await self._delay(flipped))
            await asyncio.to_thread(self._proof.confirm_endpoints, flipped.number, flipped.unready)
            progress()
        numbers: list[int] = []
        for _ in range(count):
            added = await self._changes.add_service()
            delays[added.change].append(await self._delay(added))
            self._proof.confirm_captured(added.number)
            numbers.append(added.number)
            if len(numbers) == _MOST_ADDED:
                await self._remove(numbers)
            progress()
        await self._remove(numbers)
        return delays

    async def _remove(self, numbers: list[int]) -> None:
        """Delete what was added, so that the world stays about as large as it is."""
        await side_by_side(self._changes.remove_service, numbers, _MOST_ADDED)
        for number in numbers:
            await self._proof.until_released(number)
        numbers.clear()
        await self._until_quiet()

    async def at_a_rate(self, per_second: float, seconds: float, progress: Progress) -> UnderLoad:
        """Changes at a steady rate, and what they cost.

        Raises:
            NotAppliedError: one was not applied.
        """
        agent, envoy = self._node.agent, self._node.envoy
        assert agent is not None
        assert envoy is not None
        self._log.read()
        worlds = len(self._log.applied)
        forget_peak(agent.pid)
        cpu = cpu_seconds(agent.pid), cpu_seconds(envoy.pid)
        start = time.monotonic()
        written = await self._write_steadily(round(per_second * seconds), per_second, progress)
        elapsed = time.monotonic() - start
        cpu_after = cpu_seconds(agent.pid), cpu_seconds(envoy.pid)
        delays = [await self._delay(one, worlds) for one in written]
        await self._until_quiet()
        return UnderLoad(
            seconds=elapsed,
            changes=round(per_second * seconds),
            delays_seconds=delays,
            worlds=len(self._log.applied) - worlds,
            agent_cpu_seconds=cpu_after[0] - cpu[0],
            envoy_cpu_seconds=cpu_after[1] - cpu[1],
            agent_peak_bytes=peak_resident_bytes(agent.pid),
            envoy_bytes=resident_bytes(envoy),
        )

    async def _write_steadily(
        self, count: int, per_second: float, progress: Progress
    ) -> list[Written]:
        """Each at its time, whether or not those before have been answered."""
        start = time.monotonic()
        written: list[Written] = []
        added: list[int] = []

        async def change(number: int) -> None:
            if number % _SERVICE_EVERY:
                written.append(await self._changes.flip_endpoint())
            elif added:
                await self._changes.remove_service(added.pop())
            else:
                one = await self._changes.add_service()
                written.append(one)
                added.append(one.number)
            progress()

        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(count):
                    await asyncio.sleep(max(0.0, start + number / per_second - time.monotonic()))
                    tasks.create_task(change(number))
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        for left in added:
            await self._changes.remove_service(left)
        return written

    async def _delay(self, written: Written, start: int | None = None) -> float:
        start = max(0, len(self._log.applied) - 1) if start is None else start
        applied = await self._log.until(written.kind, written.resource_version, start)
        return applied.unix_seconds - written.unix_seconds

    async def _until_quiet(self) -> None:
        """Wait until no world has been applied for a moment."""
        while True:
            known = len(self._log.applied)
            await asyncio.sleep(_SETTLE_SECONDS)
            self._log.read()
            if len(self._log.applied) == known:
                return
