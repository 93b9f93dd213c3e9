"""Writes Events about findings: each once, again only while it stands, and never above a rate."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime

import msgspec
import structlog
from aiolimiter import AsyncLimiter

from culvert.control.event_key import EventKey
from culvert.control.event_plan import event_of
from culvert.control.event_schedule import REFRESH_SECONDS, EventSchedule
from culvert.kube.backoff import Backoff
from culvert.kube.client import KubeClient
from culvert.kube.envelope import Metadata
from culvert.kube.errors import AccessError, ApiError, ApiUnreachable
from culvert.kube.timestamps import now_rfc3339_micro
from culvert.model.report import ReportedFinding

_log = structlog.get_logger(__name__)

EVENTS_PER_SECOND = 5
BURST = 25


class _Regarded(msgspec.Struct):
    metadata: Metadata


class _Series(msgspec.Struct, frozen=True, rename="camel"):
    count: int = 1
    last_observed_time: str = ""


class _Event(msgspec.Struct, rename="camel"):
    event_time: str | None = None
    series: _Series | None = None


_REGARDED = msgspec.json.Decoder(_Regarded)
_EVENT = msgspec.json.Decoder(_Event)


class EventWriter:
    """``instance`` is the name of this controller's pod."""

    def __init__(
        self, api: KubeClient, instance: str, wrote: Callable[[str], None] = lambda _: None
    ) -> None:
        self._api = api
        self._instance = instance
        self._wrote = wrote
        self._standing: Mapping[EventKey, ReportedFinding] = {}
        self._schedule = EventSchedule(random.random)
        self._wake = asyncio.Event()
        self._rate = AsyncLimiter(BURST, BURST / EVENTS_PER_SECOND)
        self._backoff = Backoff(random.random)

    def stand(self, standing: Mapping[EventKey, ReportedFinding]) -> None:
        """Take what is wrong now, instead of what was."""
        self._standing = standing
        self._schedule.retain(standing.keys())
        self._wake.set()

    async def run(self) -> None:
        """Say what is to be said. Ends only by cancellation."""
        while True:
            self._wake.clear()
            for key in list(self._standing):
                if not self._schedule.is_due(key, _now()):
                    continue
                await self._rate.acquire()
                finding = self._standing.get(key)
                if finding is not None:
                    await self._try(key, finding)
            next_seconds = self._schedule.next_seconds(self._standing.keys())
            with suppress(TimeoutError):
                async with asyncio.timeout_at(next_seconds):
                    await self._wake.wait()

    async def _try(self, key: EventKey, finding: ReportedFinding) -> None:
        try:
            await self._say(key, finding)
        except (ApiUnreachable, AccessError) as error:
            self._failed(key, error, None)
            await self._back_off(None)
        except ApiError as error:
            if error.status < 500 and error.status != 429:
                # The object is gone, or its namespace is on its way out.
                _log.debug("event not written", subject=finding.subject, error=str(error))
                self._wrote("refused")
                self._schedule.said(key, _now())
                return
            self._failed(key, error, error.retry_after_seconds)
            if error.status == 429:
                await self._back_off(error.retry_after_seconds)
        except msgspec.MsgspecError as error:
            self._failed(key, error, None)
        else:
            self._schedule.said(key, _now())

    async def _say(self, key: EventKey, finding: ReportedFinding) -> None:
        about = key.about
        uid = _REGARDED.decode(await self._api.get(about.path)).metadata.uid
        event = event_of(
            key,
            finding,
            uid,
            reporting_instance=self._instance,
            now_rfc3339_micro=now_rfc3339_micro(),
        )
        try:
            await self._api.create(about.events_path, event)
        except ApiError as error:
            if error.status != 409:
                raise
            path = f"{about.events_path}/{event['metadata']['name']}"
            await self._say_again(path, again=self._schedule.was_said(key))
        else:
            self._wrote("created")

    async def _say_again(self, path: str, *, again: bool) -> None:
        """Count a standing finding once more, unless another leader did so a moment ago."""
        there = _EVENT.decode(await self._api.get(path))
        series = there.series or _Series(last_observed_time=there.event_time or "")
        if not again and _is_fresh(series.last_observed_time):
            return
        counted = {"count": series.count + 1, "lastObservedTime": now_rfc3339_micro()}
        await self._api.merge_patch(path, {"series": counted})
        self._wrote("repeated")

    def _failed(self, key: EventKey, error: Exception, asked_seconds: float | None) -> None:
        self._wrote("failed")
        _log.warning(
            "event not written; trying again", subject=key.subject, code=key.code, error=str(error)
        )
        self._schedule.failed(key, _now(), asked_seconds)

    async def _back_off(self, asked_seconds: float | None) -> None:
        """Write nothing for a while: no Event would come through now."""
        await asyncio.sleep(self._backoff.delay_seconds(_now(), asked_seconds))


def _now() -> float:
    return asyncio.get_running_loop().time()


def _is_fresh(written_rfc3339: str) -> bool:
    try:
        written = datetime.fromisoformat(written_rfc3339)
    except ValueError:
        return False
    return (datetime.now(written.tzinfo) - written).total_seconds() < REFRESH_SECONDS
