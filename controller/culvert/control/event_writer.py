"""Writes Events about findings: each once, again only while it stands, and never above a rate."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime

import msgspec
import structlog
from aiolimiter import AsyncLimiter

from culvert.control.aggregate import FindingOnNodes
from culvert.control.event_plan import REFRESH_SECONDS, event_of, regarding
from culvert.kube.backoff import Backoff
from culvert.kube.client import KubeClient
from culvert.kube.envelope import Metadata
from culvert.kube.errors import AccessError, ApiError, ApiUnreachable
from culvert.kube.timestamps import now_rfc3339_micro
from culvert.model.report import ReportedFinding

_log = structlog.get_logger(__name__)

EVENTS_PER_SECOND = 5
BURST = 25
_LOOK_SECONDS = 60.0
"""Between two looks for findings that are to be said again."""


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
        self._standing: dict[ReportedFinding, FindingOnNodes] = {}
        # When each was said last, or tried, in seconds of the loop's clock.
        self._said: dict[ReportedFinding, float] = {}
        self._wake = asyncio.Event()
        self._rate = AsyncLimiter(BURST, BURST / EVENTS_PER_SECOND)
        self._backoff = Backoff(random.random)

    def stand(self, findings: Iterable[FindingOnNodes]) -> None:
        """Take what is wrong now, instead of what was."""
        self._standing = {one.finding: one for one in findings}
        self._said = {one: at for one, at in self._said.items() if one in self._standing}
        self._wake.set()

    async def run(self) -> None:
        """Say what is to be said. Ends only by cancellation."""
        clock = asyncio.get_running_loop().time
        while True:
            self._wake.clear()
            for finding in list(self._standing):
                said = self._said.get(finding)
                if said is not None and clock() - said < REFRESH_SECONDS:
                    continue
                await self._rate.acquire()
                standing = self._standing.get(finding)
                if standing is None:
                    continue
                try:
                    await self._say(standing, again=said is not None)
                except (ApiUnreachable, AccessError, msgspec.MsgspecError) as error:
                    await self._failed(error, None)
                    break
                except ApiError as error:
                    if error.status == 429 or error.status >= 500:
                        await self._failed(error, error.retry_after_seconds)
                        break
                    # The object is gone, or its namespace is on its way out.
                    _log.debug("event not written", subject=finding.subject, error=str(error))
                    self._wrote("refused")
                self._said[finding] = clock()
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._wake.wait()

    async def _say(self, standing: FindingOnNodes, *, again: bool) -> None:
        about = regarding(standing.finding, standing.a_node)
        if about is None:
            return
        uid = _REGARDED.decode(await self._api.get(about.path)).metadata.uid
        event = event_of(
            standing.finding,
            about,
            uid,
            reporting_instance=self._instance,
            now_rfc3339_micro=now_rfc3339_micro(),
        )
        try:
            await self._api.create(about.events_path, event)
        except ApiError as error:
            if error.status != 409:
                raise
            await self._say_again(f"{about.events_path}/{event['metadata']['name']}", again=again)
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

    async def _failed(self, error: Exception, asked: float | None) -> None:
        self._wrote("failed")
        _log.warning("event not written; trying again", error=str(error))
        now_seconds = asyncio.get_running_loop().time()
        await asyncio.sleep(self._backoff.delay_seconds(now_seconds, asked))


def _is_fresh(written_rfc3339: str) -> bool:
    try:
        written = datetime.fromisoformat(written_rfc3339)
    except ValueError:
        return False
    return (datetime.now(written.tzinfo) - written).total_seconds() < REFRESH_SECONDS
