"""The part that all load clients share: when to send, for how long, and what to print.

A client gives an ``Exchange``: one request and its answer over a connection of its own kind.
Without a rate the loop is closed: each connection sends again when it was answered. With one it is
open: requests fall due at a steady pace, and a latency counts from when its request was due, so
that a server that stalls cannot make the client look away.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable
from typing import NamedTuple, Protocol

from culvert.rig.workloads.report import Report

_LONGEST_PAUSE_SECONDS = 0.5
_FIRST_PAUSE_SECONDS = 0.02


class Answer(NamedTuple):
    """What one exchange brought."""

    body_bytes: int
    answered_by: str | None


class FailedError(Exception):
    """An exchange failed; the text is a short reason, one of few."""


class Exchange(Protocol):
    """A connection that can be used again and again, reconnecting by itself."""

    async def __call__(self) -> Answer:
        """Send one request and await its answer.

        Raises:
            FailedError: it failed; the next call starts over with a new connection.
        """

    async def aclose(self) -> None:
        """Close the connection."""


class Plan(NamedTuple):
    """How much to send."""

    connections: int
    rate: float | None
    """Requests a second over all connections; None: a closed loop."""
    duration_seconds: float | None
    """None: until SIGTERM or SIGINT."""
    timeout_seconds: float


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that make a ``Plan``."""
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument(
        "--rate",
        type=float,
        default=None,
        metavar="PER_SECOND",
        help="open loop: requests a second in all; default: a closed loop",
    )
    parser.add_argument(
        "--duration", type=float, default=None, metavar="SECONDS", help="default: until SIGTERM"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="an exchange that takes longer has failed",
    )


def plan_from(options: argparse.Namespace) -> Plan:
    """Return the plan that the command line asks for."""
    return Plan(
        max(1, options.connections),
        options.rate if options.rate and options.rate > 0 else None,
        options.duration,
        options.timeout,
    )


class Pace:
    """Hands out the times at which requests fall due, over all connections."""

    def __init__(self, rate: float | None, start: float) -> None:
        self._interval = None if rate is None else 1.0 / rate
        self._next = start

    async def due(self) -> float:
        """Wait until the next request is due and return when that was, on the loop's clock."""
        loop = asyncio.get_running_loop()
        if self._interval is None:
            return loop.time()
        due = self._next
        self._next += self._interval
        wait_seconds = due - loop.time()
        if wait_seconds > 0:
            await asyncio.sleep(wait_seconds)
        return due


async def run(plan: Plan, make_exchange: Callable[[], Exchange]) -> Report:
    """Send as planned, print a line a second and a summary, and return the report."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    report = Report()
    start = loop.time()
    pace = Pace(plan.rate, start)
    workers = [
        asyncio.create_task(_repeat(make_exchange(), plan, pace, report))
        for _ in range(plan.connections)
    ]
    try:
        second = 0
        while not stop.is_set():
            second += 1
            end = start + second
            if plan.duration_seconds is not None:
                end = min(end, start + plan.duration_seconds)
            try:
                async with asyncio.timeout_at(end):
                    await stop.wait()
            except TimeoutError:
                pass
            print(report.interval_line(loop.time() - start), flush=True)
            if plan.duration_seconds is not None and end >= start + plan.duration_seconds:
                break
    finally:
        for worker in workers:
            worker.cancel()
        results = await asyncio.gather(*workers, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    print(report.summary_line(loop.time() - start), flush=True)
    return report


async def _repeat(exchange: Exchange, plan: Plan, pace: Pace, report: Report) -> None:
    loop = asyncio.get_running_loop()
    pause_seconds = _FIRST_PAUSE_SECONDS
    try:
        while True:
            due = await pace.due()
            try:
                async with asyncio.timeout(plan.timeout_seconds):
                    answer = await exchange()
            except FailedError as error:
                report.failure(str(error))
            except TimeoutError:
                report.failure("timeout")
                await exchange.aclose()
            else:
                report.success(loop.time() - due, answer.body_bytes, answer.answered_by)
                pause_seconds = _FIRST_PAUSE_SECONDS
                continue
            # A closed loop against a port that refuses would only burn the processor.
            if plan.rate is None:
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
    finally:
        await exchange.aclose()


def main(plan: Plan, make_exchange: Callable[[], Exchange], *, fail_on_failures: bool) -> None:
    """Run and end the program: status 1 when asked to and an exchange failed."""
    report = asyncio.run(run(plan, make_exchange))
    if fail_on_failures and (report.total.failures or not report.total.latency.count):
        sys.exit(1)


def reason_of(error: OSError) -> str:
    """Name an error of the network in a word."""
    match error:
        case ConnectionRefusedError():
            return "refused"
        case ConnectionResetError() | BrokenPipeError():
            return "reset"
        case _:
            return (error.strerror or type(error).__name__).lower()
