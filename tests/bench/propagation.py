"""From a write to the API until Envoy and the kernel have it, in worlds of two sizes.

One control plane holds the worlds one after another; one agent, with a real Envoy, watches from a
node on which nothing runs. The controllers are stopped once the control plane is up: nobody but the
measurement writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.mesh_node import MeshNode
from culvert.kube.client import KubeClient
from culvert.rig import Rig
from rich.progress import Progress

from tests.bench import synthetic_world as world
from tests.bench.process_memory import cpu_seconds, peak_resident_bytes, resident_bytes
from tests.bench.propagation_changes import Changes
from tests.bench.propagation_figures import WorldFigures
from tests.bench.propagation_node import NODE_ADDRESS, watching_node
from tests.bench.propagation_rounds import Measuring
from tests.bench.propagation_world import put_world
from tests.bench.synthetic_world import WorldSize

SERVICES = (1_000, 10_000)

_SYNC_LIMIT_SECONDS = 300.0
_SETTLE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is measured: worlds, from small to large, and changes in each of them."""

    services: Sequence[int] = SERVICES
    changes: int = 500
    """One by one, of each kind."""
    load_per_second: float = 50.0
    load_seconds: float = 60.0


QUICK = Amounts(services=(100, 200), changes=20, load_seconds=5.0)


def measure_propagation(
    amounts: Amounts, progress: Progress, said: Callable[[str], None]
) -> list[WorldFigures]:
    """Measure all of it; about eight minutes with the usual amounts.

    Raises:
        NotReadyError: the agent or Envoy did not start.
        NotAppliedError, NotThereError: a change did not come through.
        ControlPlaneError, MissingProgramError: there is no control plane on this machine.
    """
    return asyncio.run(_Run(amounts, progress, said).all())


class _Run:
    def __init__(self, amounts: Amounts, progress: Progress, said: Callable[[str], None]) -> None:
        self._amounts = amounts
        self._progress = progress
        self._said = said

    async def all(self) -> list[WorldFigures]:
        with Rig() as rig, ControlPlane(rig.directory / "plane", names=(NODE_ADDRESS,)) as plane:
            plane.stop_controllers()
            async with (
                KubeClient.load(plane.kubeconfig) as api,
                watching_node(rig, plane) as node,
            ):
                await api.create("/api/v1/namespaces", world.namespace())
                self._said("the programs are compiled, in an empty world")
                await _start(node)
                await _end(node)
                figures, have, changes = [], WorldSize(0), Changes(api)
                for services in self._amounts.services:
                    size = WorldSize(services)
                    await self._grow(plane, api, have, size)
                    have = changes.size = size
                    figures.append(await self._measure(changes, node, size))
                return figures

    async def _grow(
        self, plane: ControlPlane, api: KubeClient, have: WorldSize, want: WorldSize
    ) -> None:
        objects = world.object_count(want) - world.object_count(have)
        task = self._progress.add_task(f"{want.services:,} Services are written", total=objects)
        await put_world(plane, api, have, want, lambda count: self._progress.advance(task, count))
        self._progress.remove_task(task)

    async def _measure(self, changes: Changes, node: MeshNode, size: WorldSize) -> WorldFigures:
        start = time.monotonic()
        await _start(node)
        sync_seconds = time.monotonic() - start
        assert node.agent is not None
        assert node.envoy is not None
        pid = node.agent.pid
        sync_cpu_seconds = cpu_seconds(pid)
        await asyncio.sleep(_SETTLE_SECONDS)
        agent, peak = resident_bytes(node.agent), peak_resident_bytes(pid)
        envoy = resident_bytes(node.envoy)
        self._said(
            f"{size.services:,} Services: synced in {sync_seconds:.1f} s, "
            f"agent {agent >> 20} MiB, Envoy {envoy >> 20} MiB"
        )
        measuring = Measuring(node, changes)
        delays = await measuring.one_by_one(
            self._amounts.changes, self._counting("changes one by one", 2 * self._amounts.changes)
        )
        under_load_changes = round(self._amounts.load_per_second * self._amounts.load_seconds)
        under_load = await measuring.at_a_rate(
            self._amounts.load_per_second,
            self._amounts.load_seconds,
            self._counting(
                f"{self._amounts.load_per_second:g} changes a second", under_load_changes
            ),
        )
        await _end(node)
        return WorldFigures(
            services=size.services,
            endpoints=size.pods,
            nodes=size.nodes,
            sync_seconds=sync_seconds,
            sync_cpu_seconds=sync_cpu_seconds,
            agent_bytes=agent,
            agent_peak_bytes=peak,
            envoy_bytes=envoy,
            delays_seconds=delays,
            under_load=under_load,
        )

    def _counting(self, description: str, total: int) -> Callable[[], None]:
        task = self._progress.add_task(description, total=total)

        def count() -> None:
            self._progress.advance(task)
            if self._progress.tasks[-1].finished:
                self._progress.remove_task(task)

        return count


async def _start(node: MeshNode) -> None:
    node.start_agent()
    node.start_envoy()
    await asyncio.to_thread(node.wait_ready, _SYNC_LIMIT_SECONDS)


async def _end(node: MeshNode) -> None:
    await asyncio.to_thread(node.kill_agent)
    await asyncio.to_thread(node.kill_envoy)
