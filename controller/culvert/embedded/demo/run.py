"""One run of the demonstration, from an empty machine to the summary."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Protocol

import structlog

from culvert.embedded.demo.cast import Cast
from culvert.embedded.demo.kube_town import KubeTown
from culvert.embedded.demo.readings import Reading
from culvert.embedded.demo.scenario import Action, Event, Step, began, scenario
from culvert.embedded.demo.town import DemoTown
from culvert.embedded.mesh_node import MeshOptions
from culvert.rig import Rig

DEFAULT_RIG_ID = "demo"
_READ_SECONDS = 0.5
_STEP_SECONDS = 30.0
_AFTER_LAST_STEP_SECONDS = 2.0
_ECHO_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to run for how long. ``keep`` leaves everything up after the summary.

    Demonstrations of different rig ids do not touch each other.
    """

    folder: Path
    seconds: float
    keep: bool = False
    rig_id: str = DEFAULT_RIG_ID
    kube: bool = False
    """On a real API server, with the charts installed."""


class Stage(Protocol):
    """Where the demonstration happens."""

    cast: Cast

    async def run(self) -> None:
        """Keep the cluster going, until cancelled."""

    async def bring_up_mesh(self, said: Callable[[str], None]) -> None:
        """Nodes, agents and Envoys."""

    async def bring_up_pods(self, said: Callable[[str], None]) -> None:
        """Servers first, then clients."""

    async def act(self, action: Action) -> None:
        """Make one change, and wait until it is in effect."""

    async def wait_ready(self) -> None:
        """Wait until every node has taken the newest world."""

    async def read(self, at_seconds: float, last: Reading | None) -> Reading:
        """Measure."""
        ...

    def close(self) -> None:
        """Take everything down but the rig; a second call does nothing."""


class Audience(Protocol):
    """Where the demonstration is shown."""

    def doing(self, text: str) -> None:
        """Show what takes a while."""

    def said(self, text: str) -> None:
        """Show something that is done."""

    def event(self, event: Event, *, over: bool) -> None:
        """Show a change that begins, or what it did until it was over."""

    def measured(self, reading: Reading, events: Sequence[Event], duration_seconds: float) -> None:
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
    with Rig(rig_id=options.rig_id) as rig:
        town: Stage
        if options.kube:
            _log_to(rig.directory / "cluster.log")
            town = KubeTown(rig, options.folder)
        else:
            town = DemoTown(rig, options.folder, MeshOptions(identity=True))
        try:
            return asyncio.run(_Run(town, options, audience, after).play())
        finally:
            with _signals_ignored():
                audience.doing("taking everything down")
                town.close()
                rig.close()


def _log_to(path: Path) -> None:
    """Keep what the nodes' stand-ins have to say off the screen."""
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=path.open("a")))


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Keep a second Ctrl-C from ending the clean-up half way: it asks for what is being done."""
    # A mask would hold for one thread only, and the rig has more.
    before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, disposition in before.items():
            signal.signal(number, disposition)


class _Run:
    """The story of one run: the cluster beside it, the steps and the measurements within."""

    def __init__(
        self,
        town: Stage,
        options: DemoOptions,
        audience: Audience,
        after: Callable[[Reading], None],
    ) -> None:
        self._town = town
        self._options = options
        self._audience = audience
        self._after = after
        self._steps = list(scenario(town.cast))
        self._events: list[Event] = []
        self._change: asyncio.Task[None] | None = None
        self._reading = Reading(0.0, (), (), ())

    async def play(self) -> Reading:
        """Run the cluster and the story, until one of them ends."""
        cluster = asyncio.create_task(self._town.run())
        story = asyncio.create_task(self._story())
        try:
            await asyncio.wait({cluster, story}, return_when=asyncio.FIRST_COMPLETED)
            if story.done() and story.exception() is not None:
                # That may be the echo of a cluster that is just ending: its own error says more.
                await asyncio.wait({cluster}, timeout=_ECHO_SECONDS)
            if cluster.done() and (error := cluster.exception()) is not None:
                raise _first(error) from None
            await story
            return self._reading
        finally:
            for task in (story, cluster):
                task.cancel()
            await asyncio.gather(story, cluster, return_exceptions=True)

    async def _story(self) -> None:
        audience, town = self._audience, self._town
        audience.doing("compiling the BPF programs, starting Envoy")
        await town.bring_up_mesh(audience.said)
        audience.doing("starting pods")
        await town.bring_up_pods(audience.said)
        await self._changes()
        await town.wait_ready()
        self._reading = await town.read(self._reading.at_seconds, self._reading)
        audience.ended(self._reading)
        self._after(self._reading)
        if self._options.keep:
            await asyncio.Event().wait()

    async def _changes(self) -> None:
        """Take each step in its time, measuring all along."""
        start = monotonic()
        end = self._options.seconds
        try:
            while (elapsed := monotonic() - start) < end or self._change or self._steps:
                self._begin_due(elapsed)
                await asyncio.sleep(_READ_SECONDS)
                elapsed = monotonic() - start
                if self._change is not None and self._change.done():
                    self._change.result()
                    self._change = None
                    self._events[-1] = replace(self._events[-1], done=True)
                    end = max(end, elapsed + _AFTER_LAST_STEP_SECONDS)
                self._reading = await self._town.read(elapsed, self._reading)
                if self._events:
                    self._events[-1] = self._events[-1].seen(self._reading)
                self._audience.measured(self._reading, self._events, end)
        finally:
            if self._change is not None:
                self._change.cancel()
                await asyncio.gather(self._change, return_exceptions=True)
        if self._events:
            self._audience.event(self._events[-1], over=True)

    def _begin_due(self, elapsed_seconds: float) -> None:
        """Begin the next step, if its time has come and the one before is done."""
        share = elapsed_seconds / self._options.seconds
        if self._change is not None or not self._steps or share < self._steps[0].share:
            return
        if self._events:
            self._audience.event(self._events[-1], over=True)
        step = self._steps.pop(0)
        self._events.append(began(step, elapsed_seconds, self._reading))
        self._audience.event(self._events[-1], over=False)
        self._change = asyncio.create_task(self._take(step))

    async def _take(self, step: Step) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_STEP_SECONDS):
                await self._town.act(step.action)


def _first(error: BaseException) -> BaseException:
    """What a group of errors began with."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
