"""One run of the demonstration, from an empty machine to the summary."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Protocol

from culvert.embedded.demo.readings import Reading
from culvert.embedded.demo.scenario import Action, due
from culvert.embedded.demo.town import DemoTown
from culvert.embedded.mesh_node import MeshOptions
from culvert.rig import Rig

RIG_ID = "demo"
_READ_SECONDS = 0.5
_STEP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to run for how long. ``keep`` leaves everything up after the summary."""

    folder: Path
    seconds: float
    keep: bool = False


class Audience(Protocol):
    """Where the demonstration is shown."""

    def said(self, text: str) -> None:
        """Show a line of progress."""

    def measured(self, reading: Reading, events: list[str], duration_seconds: float) -> None:
        """Show how things stand."""

    def ended(self, reading: Reading) -> None:
        """Show the summary."""


def run_demo(options: DemoOptions, audience: Audience, after: Callable[[Reading], None]) -> Reading:
    """Run it to the summary; nothing stays, whatever happens.

    ``after`` is called with the last reading while everything is still up.

    Raises:
        OSError: the machine refused something (``FileExistsError``: a demo is up already).
        NotReadyError: an agent or Envoy did not come up.
    """
    with Rig(rig_id=RIG_ID) as rig:
        audience.said(f"a rig of namespaces and cgroups is being built; logs in {rig.directory}")
        town = DemoTown(rig, options.folder, MeshOptions())
        with town.mesh:
            return asyncio.run(_play(town, options, audience, after))


async def _play(
    town: DemoTown, options: DemoOptions, audience: Audience, after: Callable[[Reading], None]
) -> Reading:
    cluster = asyncio.create_task(town.cluster.run())
    try:
        story = asyncio.create_task(_story(town, options, audience, after))
        done, _ = await asyncio.wait({cluster, story}, return_when=asyncio.FIRST_COMPLETED)
        if cluster in done and not story.done():
            story.cancel()
            cluster.result()
        return await story
    finally:
        cluster.cancel()
        with suppress(asyncio.CancelledError):
            await cluster


async def _story(
    town: DemoTown, options: DemoOptions, audience: Audience, after: Callable[[Reading], None]
) -> Reading:
    await town.bring_up(audience.said)
    events: list[str] = []
    start = monotonic()
    reading = await town.read(0.0, None)
    steps = 0
    change: asyncio.Task[None] | None = None
    while (elapsed := monotonic() - start) < options.seconds or change is not None:
        step = due(elapsed / options.seconds, steps)
        if step is not None and change is None:
            events.append(f"{elapsed:4.0f} s  {step.text}")
            audience.said(step.text)
            change = asyncio.create_task(_change(town, step.action))
            steps += 1
        if change is not None and change.done():
            change.result()
            events[-1] += f"  ✓ done, {reading.failures} requests failed so far"
            change = None
        await asyncio.sleep(_READ_SECONDS)
        reading = await town.read(monotonic() - start, reading)
        audience.measured(reading, events, options.seconds)
    for node in town.mesh.nodes.values():
        await asyncio.to_thread(node.wait_ready)
    reading = await town.read(monotonic() - start, reading)
    audience.ended(reading)
    after(reading)
    if options.keep:
        await asyncio.Event().wait()
    return reading


async def _change(town: DemoTown, action: Action) -> None:
    """Make one change and wait, within limits, until the cluster has followed it."""
    await town.act(action)
    with suppress(TimeoutError):
        async with asyncio.timeout(_STEP_SECONDS):
            await town.cluster.wait_settled()
            for node in town.mesh.nodes.values():
                await asyncio.to_thread(node.wait_ready)
