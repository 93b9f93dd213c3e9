"""Brings reports to the controller that leads: over TLS, with the token of this agent's pod.

The controller's address is that of its Service, which the agent watches anyway, so no DNS is
needed; its certificate is in a ConfigMap and is read again whenever it does not fit any more.
Nothing else of the agent waits for any of this.
"""

from __future__ import annotations

import asyncio
import random
import ssl
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
from culvert.kube.errors import AccessError, ApiError, ApiUnreachable
from culvert.model.report import (
    CERTIFICATE_KEY,
    MAX_HEARTBEAT_SECONDS,
    REPORTS_PATH,
    Acknowledgement,
    NodeReport,
    Refusal,
    server_name,
    trust_config_map,
)
from culvert.reports.session import NodeState, ReportSession

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks for news; what changes meanwhile is one report."""
ANSWER_SECONDS = 15.0
_FIRST_RETRY_SECONDS = 0.2
_MAX_RETRY_SECONDS = 15.0

Address = tuple[str, int]


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


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] = {}


_CONFIG_MAP = msgspec.json.Decoder(_ConfigMap)
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
        self._trust: ssl.SSLContext | None = None
        self._spread_seconds = 0.0
        self._heartbeat_seconds = MAX_HEARTBEAT_SECONDS
        self.status = SenderStatus()

    async def run(self) -> None:
        """Report what is new, and that nothing is. Ends only by cancellation."""
        clock = self._monotonic_seconds
        backoff = Backoff(random.random, _FIRST_RETRY_SECONDS, _MAX_RETRY_SECONDS)
        due_seconds = 0.0
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            while True:
                await self._sleep(LOOK_SECONDS * (0.5 + random.random()))
                state = self._state()
                if state is None:
                    continue
                if self._session.has_news(state):
                    # All nodes have the same news at the same moment.
                    await self._sleep(self._spread_seconds * random.random())
                    state = self._state() or state
                elif clock() < due_seconds:
                    continue
                try:
                    await self._report(http, state)
                except _NotTakenError as error:
                    self._note_failure(str(error))
                    await self._sleep(backoff.delay_seconds(clock()))
                    due_seconds = 0.0
                else:
                    due_seconds = clock() + self._heartbeat_seconds * (0.8 + 0.2 * random.random())

    async def _report(self, http: aiohttp.ClientSession, state: NodeState) -> None:
        address, token = self._address(), self._token()
        if address is None:
            service = f"{self._access.namespace}/{self._access.service}"
            raise _NotTakenError(f"the controller's Service {service} has no cluster IP")
        trust = self._trust or await self._read_trust()
        report = self._session.next_report(state)
        try:
            answered = await self._post(http, address, trust, token, report)
        except aiohttp.ClientConnectorError as error:
            # Not even a connection: no replica leads yet, or this is another's certificate.
            self._session.refused()
            self._trust = None
            raise _NotTakenError(f"the controller cannot be reached: {error}") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._session.unanswered()
            raise _NotTakenError(
                f"the controller did not answer: {str(error) or type(error).__name__}"
            ) from None
        self._take(*answered)

    async def _post(
        self,
        http: aiohttp.ClientSession,
        address: Address,
        trust: ssl.SSLContext,
        token: str,
        report: NodeReport,
    ) -> tuple[int, bytes]:
        host, port = address
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        async with http.post(
            f"https://{authority}{REPORTS_PATH}",
            data=msgspec.json.encode(report),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            ssl=trust,
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
                if self.status.error:
                    _log.info("reports are taken again")
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

    async def _read_trust(self) -> ssl.SSLContext:
        namespace, name = self._access.namespace, trust_config_map(self._access.service)
        try:
            body = await self._api.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
            certificate = _CONFIG_MAP.decode(body).data[CERTIFICATE_KEY]
            # Not create_default_context: that takes the system's authorities where there is none.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cadata=certificate)
        except (ApiError, ApiUnreachable, AccessError) as error:
            raise _NotTakenError(f"the controller's certificate cannot be read: {error}") from None
        except (KeyError, ValueError, ssl.SSLError, msgspec.MsgspecError):
            raise _NotTakenError(
                f"ConfigMap {namespace}/{name} holds no certificate: the controller writes it anew "
                "within a minute"
            ) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._trust = context
        return context

    def _note_failure(self, error: str) -> None:
        if error.startswith("SendFull"):
            return
        if self.status.error != error:
            _log.warning("not reported; trying again", error=error)
        self.status = SenderStatus(self.status.acknowledged_seconds, error)
