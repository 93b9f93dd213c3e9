"""What a controller can take in: the reports of 5,000 nodes, over TLS, at an intake of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

import msgspec
from culvert.model.report import NodeReport

from tests.bench.process_memory import (
    cpu_seconds,
    forget_peak,
    peak_resident_bytes,
    resident_bytes,
)
from tests.bench.reports_error import NotTakenError
from tests.bench.reports_feed import feed
from tests.bench.reports_figures import PhaseFigures, Reports
from tests.bench.reports_intake import Address
from tests.bench.reports_nodes import (
    FINDINGS,
    OBJECTS,
    change_report,
    full_report,
    heartbeat,
)

NODES = 5_000
QUICK_NODES = 200
_CLIENTS = 4
"""Processes that report, one report of each at a time: more than the intake can answer."""


@dataclass(frozen=True, slots=True)
class _Phase:
    name: str
    report_of: Callable[[int], NodeReport]
    counts: bool = False


_PHASES = (
    _Phase("everything, as to a new leader", full_report, counts=True),
    _Phase("a change of the same object", change_report, counts=True),
    _Phase("a heartbeat", heartbeat),
)


def measure_reports(
    nodes: int, machine: dict[str, str], command: str, said: Callable[[str], None]
) -> Reports:
    """Measure all of it; about a minute with the usual number of nodes.

    Raises:
        NotTakenError: the intake refused a report, or ended.
        OSError: it did not answer.
    """
    with _Intake(nodes).running() as intake, _clients() as clients:
        empty_bytes, full_bytes = resident_bytes(intake.process), 0
        figures = []
        for phase in _PHASES:
            figures.append(_measured(intake, clients, phase, nodes))
            said(f"{phase.name}: {figures[-1].per_second:,.0f} a second")
            full_bytes = full_bytes or resident_bytes(intake.process)
    return Reports(machine, command, nodes, OBJECTS, FINDINGS, figures, empty_bytes, full_bytes)


class _Intake:
    """The process that is measured."""

    def __init__(self, nodes: int) -> None:
        argv = [sys.executable, "-m", "tests.bench.reports_intake", str(nodes)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    @contextmanager
    def running(self) -> Iterator[_Intake]:
        with self.process:
            try:
                self.address = msgspec.json.decode(self._line(), type=Address)
                yield self
            finally:
                self.process.kill()

    def counted_seconds(self) -> float:
        """Wait until the generation is counted on all nodes that was reported last."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return msgspec.json.decode(self._line(), type=float)

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise NotTakenError("the intake has ended; its last words are above")
        return line


def _clients() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(_CLIENTS, mp_context=get_context("forkserver"))


def _measured(
    intake: _Intake, clients: ProcessPoolExecutor, phase: _Phase, nodes: int
) -> PhaseFigures:
    parts = [range(first, nodes, _CLIENTS) for first in range(_CLIENTS)]
    forget_peak(intake.process.pid)
    cpu_before, start_seconds = cpu_seconds(intake.process.pid), time.monotonic()
    feeding = [clients.submit(feed, intake.address, part, phase.report_of) for part in parts]
    last_seconds = max(one.result() for one in feeding)
    used_seconds = cpu_seconds(intake.process.pid) - cpu_before
    return PhaseFigures(
        name=phase.name,
        reports=nodes,
        report_bytes=len(msgspec.json.encode(phase.report_of(nodes - 1))),
        seconds=last_seconds - start_seconds,
        cpu_seconds=used_seconds,
        peak_bytes=peak_resident_bytes(intake.process.pid),
        settling_seconds=intake.counted_seconds() - last_seconds if phase.counts else None,
    )
