"""Brings reports to the controller that leads. Nothing else of the agent waits for any of this."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
import structlog

from culvert.kube.backoff import Backoff
from culvert.kube.client import KubeClient
from culvert.leader.connection import (
    ControllerAccess,
    ControllerConnection,
    ControllerError,
    NotAnsweredError,
    NotReachedError,
)
from culvert.model.leader import Address
from culvert.model.refusal import Refusal
from culvert.model.report import (
    MAX_HEARTBEAT_SECONDS,
    REPORTS_PATH,
    Acknowledgement,
)
from culvert.reports.session import NodeState, ReportSession

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks for news; what changes meanwhile is one report."""
_FIRST_RETRY_SECONDS = 0.5
_MAX_RETRY_SECONDS = 15.0
_QUIET_FAILURES = 6
"""So many in a row go without a warning: the next one comes after 18 s at the least.

By then a leader that died without a word is replaced: 15 s, and 2 s between two looks at its Lease.
"""


@dataclass(frozen=True, slots=True)
class SenderStatus:
    """``acknowledged_seconds`` is the UNIX time of the last answer; None before the first."""

    acknowledged_seconds: float | None = None
    error: str = ""


class _NotTakenError(Exception):
    """The controller did not take the report; says why."""


_ACKNOWLEDGEMENT = msgspec.json.Decoder(Acknowledgement)
_REFUSAL = msgspec.json.Decoder(Refusal)


class ReportSender:
    """``state`` gives what is so now, ``address`` where the controller's Service is, if known."""

    def __init__(
        self,
        api: KubeClient,
        access: ControllerAccess,
        node: str,
        state: Callable[[], NodeState | None],
        address: Callable[[], Address | None],
        unix_seconds: Callable[[], float],
        *,
        monotonic_seconds: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._connection = ControllerConnection(api, access, address)
        self._state = state
        self._unix_seconds = unix_seconds
        self._monotonic_seconds = monotonic_seconds
        self._sleep = sleep
        self._session = ReportSession(node, uuid.uuid4().hex)
        self._failures = 0
        self._told = False
        self._spread_seconds = 0.0
        self._heartbeat_seconds = MAX_HEARTBEAT_SECONDS
        self.status = SenderStatus()

    async def run(self) -> None:
        """Report what is new, and that nothing is. Ends only by cancellation."""
        async with self._connection:
            await self._run()

    async def _run(self) -> None:
        clock = self._monotonic_seconds
        backoff = _new_backoff()
        due_seconds = 0.0
        is_spread = True
        while True:
            await self._sleep(LOOK_SECONDS * (0.5 + random.random()))
            state = self._state()
            if state is None:
                continue
            if self._session.has_news(state):
                if is_spread:
                    # All nodes have the same news at the same moment.
                    await self._sleep(self._spread_seconds * random.random())
                    state = self._state() or state
            elif clock() < due_seconds:
                continue
            try:
                await self._report(state)
            except (ControllerError, _NotTakenError) as error:
                self._note_failure(error)
                await self._sleep(backoff.delay_seconds(clock()))
                due_seconds = 0.0
                # What waits for a leader has been spread already.
                is_spread = not isinstance(error, NotReachedError)
            else:
                # The next failure has another cause, most likely another leader.
                backoff, is_spread = _new_backoff(), True
                due_seconds = clock() + self._heartbeat_seconds * (0.8 + 0.2 * random.random())

    async def _report(self, state: NodeState) -> None:
        body = msgspec.json.encode(self._session.next_report(state))
        try:
            answered = await self._connection.request("POST", REPORTS_PATH, body)
        except NotAnsweredError:
            self._session.unanswered()
            raise
        except ControllerError:
            self._session.refused()
            raise
        self._take(*answered)

    def _take(self, status: int, body: bytes) -> None:
        try:
            if status == 200:
                acknowledged = _ACKNOWLEDGEMENT.decode(body)
                self._session.acknowledged()
                self._spread_seconds = acknowledged.spread_seconds
                self._heartbeat_seconds = acknowledged.heartbeat_seconds
                if self._told:
                    _log.info("reports are taken again")
                self._failures, self._told = 0, False
                self.status = SenderStatus(self._unix_seconds())
                return
            refusal = _REFUSAL.decode(body)
        except msgspec.MsgspecError:
            self._session.unanswered()
            raise _NotTakenError(f"an answer {status} that no controller gives") from None
        self._session.refused(send_full=refusal.reason == "SendFull")
        raise _NotTakenError(f"{refusal.reason}: {refusal.message}")

    def _note_failure(self, failure: ControllerError | _NotTakenError) -> None:
        error = str(failure)
        if error.startswith("SendFull"):
            return
        self._failures += 1
        is_quiet = isinstance(failure, NotReachedError) and self._failures <= _QUIET_FAILURES
        if not is_quiet and (self.status.error != error or not self._told):
            _log.warning("not reported; trying again", error=error)
            self._told = True
        self.status = SenderStatus(self.status.acknowledged_seconds, error)


def _new_backoff() -> Backoff:
    return Backoff(random.random, _FIRST_RETRY_SECONDS, _MAX_RETRY_SECONDS)
