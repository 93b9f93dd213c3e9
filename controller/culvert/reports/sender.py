"""Brings reports to the controller that leads: over TLS, with the token of this agent's pod.

Its address and certificate are in a ConfigMap, which is read again whenever it is not there or not
itself. A controller that publishes no address is reached by its Service, which the agent watches
anyway, so no DNS is needed. Nothing else of the agent waits for any of this.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import structlog

from culvert.kube.backoff import Backoff
from culvert.kube.client import KubeClient
from culvert.kube.connection import words_of
from culvert.model.leader import Address, authority
from culvert.model.report import (
    MAX_HEARTBEAT_SECONDS,
    REPORTS_PATH,
    Acknowledgement,
    NodeReport,
    Refusal,
    server_name,
)
from culvert.reports.leader import Leader, LeaderUnknownError, read_leader
from culvert.reports.session import NodeState, ReportSession

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks for news; what changes meanwhile is one report."""
ANSWER_SECONDS = 15.0
CONNECT_SECONDS = 5.0
"""An address that has gone with its node does not even refuse."""
_FIRST_RETRY_SECONDS = 0.5
_MAX_RETRY_SECONDS = 15.0
_QUIET_FAILURES = 6
"""So many in a row go without a warning: the next one comes after 18 s at the least.

By then a leader that died without a word is replaced: 15 s, and 2 s between two looks at its Lease.
"""


@dataclass(frozen=True, slots=True)
class ControllerAccess:
    """Where reports go: the controller's Service, and the file with the token to show."""

    namespace: str
    service: str
    token: Path


@dataclass(frozen=True, slots=True)
class SenderStatus:
    """``acknowledged_seconds`` is the UNIX time of the last answer; None before the first."""

    acknowledged_seconds: float | None = None
    error: str = ""


class _NotTakenError(Exception):
    """The report did not arrive, or nobody knows whether it did; says why."""


class _NotReachedError(_NotTakenError):
    """There is no leader where one was: so it is while one follows another."""


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
        self._api = api
        self._access = access
        self._state = state
        self._address = address
        self._unix_seconds = unix_seconds
        self._monotonic_seconds = monotonic_seconds
        self._sleep = sleep
        self._session = ReportSession(node, uuid.uuid4().hex)
        self._leader: Leader | None = None
        self._may_have_changed = False
        self._failures = 0
        self._told = False
        self._spread_seconds = 0.0
        self._heartbeat_seconds = MAX_HEARTBEAT_SECONDS
        self.status = SenderStatus()

    async def run(self) -> None:
        """Report what is new, and that nothing is. Ends only by cancellation."""
        clock = self._monotonic_seconds
        backoff = _new_backoff()
        due_seconds = 0.0
        is_spread = True
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http:
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
                    await self._report(http, state)
                except _NotTakenError as error:
                    self._note_failure(error)
                    await self._sleep(backoff.delay_seconds(clock()))
                    due_seconds = 0.0
                    # What waits for a leader has been spread already.
                    is_spread = not isinstance(error, _NotReachedError)
                else:
                    # The next failure has another cause, most likely another leader.
                    backoff, is_spread = _new_backoff(), True
                    due_seconds = clock() + self._heartbeat_seconds * (0.8 + 0.2 * random.random())

    async def _report(self, http: aiohttp.ClientSession, state: NodeState) -> None:
        token = self._token()
        leader = await self._find_leader()
        address = leader.entry.address or self._address()
        if address is None:
            service = f"{self._access.namespace}/{self._access.service}"
            raise _NotTakenError(f"the controller's Service {service} has no cluster IP")
        report = self._session.next_report(state)
        try:
            answered = await self._post(http, address, leader, token, report)
        except aiohttp.ClientSSLError as error:
            # This is another's certificate.
            self._session.refused()
            self._leader = None
            raise _not_reached(address, error) from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            # Not even a connection: it has ended, and the next one is elsewhere.
            self._session.refused()
            self._may_have_changed = True
            raise _not_reached(address, error) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._session.unanswered()
            self._may_have_changed = True
            raise _NotReachedError(f"the controller did not answer: {words_of(error)}") from None
        self._take(*answered)

    async def _find_leader(self) -> Leader:
        known = self._leader
        if known is not None and not self._may_have_changed:
            return known
        try:
            found = await read_leader(self._api, self._access.namespace, self._access.service)
        except LeaderUnknownError as error:
            if known is None:
                raise _NotTakenError(str(error)) from None
            # It may be where it was: reports do not depend on the API server.
            return known
        self._leader, self._may_have_changed = found, False
        return found

    async def _post(
        self,
        http: aiohttp.ClientSession,
        address: Address,
        leader: Leader,
        token: str,
        report: NodeReport,
    ) -> tuple[int, bytes]:
        async with http.post(
            f"https://{authority(address)}{REPORTS_PATH}",
            data=msgspec.json.encode(report),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            ssl=leader.trust,
            server_hostname=server_name(self._access.namespace, self._access.service),
            allow_redirects=False,
        ) as answer:
            return answer.status, await answer.read()

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

    def _token(self) -> str:
        # Read each time: the kubelet replaces it well before it ends.
        try:
            return self._access.token.read_text().strip()
        except OSError as error:
            raise _NotTakenError(f"no token for the controller: {error}") from None

    def _note_failure(self, failure: _NotTakenError) -> None:
        error = str(failure)
        if error.startswith("SendFull"):
            return
        self._failures += 1
        is_quiet = isinstance(failure, _NotReachedError) and self._failures <= _QUIET_FAILURES
        if not is_quiet and (self.status.error != error or not self._told):
            _log.warning("not reported; trying again", error=error)
            self._told = True
        self.status = SenderStatus(self.status.acknowledged_seconds, error)


def _not_reached(address: Address, error: aiohttp.ClientError) -> _NotReachedError:
    # Not aiohttp's own words: they name an object in memory, and differ each time.
    cause: BaseException = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    return _NotReachedError(
        f"the controller cannot be reached at {authority(address)}: {words_of(cause)}"
    )


def _new_backoff() -> Backoff:
    return Backoff(random.random, _FIRST_RETRY_SECONDS, _MAX_RETRY_SECONDS)
