"""Writes statuses: one write per object at a time, the newest wins, and never more than a rate."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import structlog
from aiolimiter import AsyncLimiter

from culvert.kube.backoff import Backoff
from culvert.kube.client import KubeClient
from culvert.kube.errors import AccessError, ApiError, ApiUnreachable
from culvert.model.key import ObjectKey

_log = structlog.get_logger(__name__)

FIELD_MANAGER = "culvert-controller"
WRITES_PER_SECOND = 20
OBJECT_PAUSE_SECONDS = 1.0
"""Between two writes of one object: nodes that take it one after the other are told together."""
REFUSED_PAUSE_SECONDS = 30.0
"""Before a write is tried again that the API refuses for what it is: most will be refused again."""

PLURALS = {
    "AuthorizationPolicy": "authorizationpolicies",
    "MeshConfig": "meshconfigs",
    "PeerAuthentication": "peerauthentications",
    "TrafficPolicy": "trafficpolicies",
}
"""Kinds with a status, as paths of the API have them."""


class StatusKey(NamedTuple):
    """One object, by name."""

    kind: str
    key: ObjectKey


class StatusWriter:
    """``plan`` gives what is to be applied to an object's status now, None where it is right."""

    def __init__(
        self,
        api: KubeClient,
        plan: Callable[[StatusKey], dict[str, Any] | None],
        wrote: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._api = api
        self._plan = plan
        self._wrote = wrote
        self._due: dict[StatusKey, float] = {}
        self._paused: dict[StatusKey, float] = {}
        self._wake = asyncio.Event()
        self._rate = AsyncLimiter(WRITES_PER_SECOND, 1.0)
        self._backoff = Backoff(random.random)

    def mark(self, key: StatusKey) -> None:
        """Say that an object's status may have to be written."""
        if key not in self._due:
            self._due[key] = max(self._paused.get(key, 0.0), _now())
            self._wake.set()

    @property
    def waiting(self) -> int:
        """Number of objects that are to be looked at."""
        return len(self._due)

    async def run(self) -> None:
        """Write what is due. Ends only by cancellation."""
        while True:
            key = await self._next()
            body = self._plan(key)
            if body is None:
                continue
            await self._rate.acquire()
            await self._write(key, body)

    async def _next(self) -> StatusKey:
        while True:
            now_seconds = _now()
            self._paused = {key: at for key, at in self._paused.items() if at > now_seconds}
            # First come, first served, but for those that were written a moment ago.
            for key, at_seconds in self._due.items():
                if at_seconds <= now_seconds:
                    del self._due[key]
                    return key
            self._wake.clear()
            pause = min(self._due.values(), default=now_seconds + 3600.0) - now_seconds
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _write(self, key: StatusKey, body: dict[str, Any]) -> None:
        try:
            await self._api.apply(status_path(key), body, field_manager=FIELD_MANAGER)
        except ApiError as error:
            if error.status in (404, 409):
                # It is gone, or another one has its name: the watch says what is there.
                self._wrote("overtaken")
                return
            self._failed(key, error)
            if error.status < 500 and error.status != 429:
                self._pause(key, REFUSED_PAUSE_SECONDS)
            else:
                await self._back_off(error.retry_after_seconds)
        except (ApiUnreachable, AccessError) as error:
            self._failed(key, error)
            await self._back_off(None)
        else:
            self._wrote("written")
            self._pause(key, OBJECT_PAUSE_SECONDS)

    def _failed(self, key: StatusKey, error: Exception) -> None:
        self._wrote("failed")
        _log.warning(
            "status not written; trying again", object=f"{key.kind} {key.key}", error=str(error)
        )
        self.mark(key)

    def _pause(self, key: StatusKey, seconds: float) -> None:
        self._paused[key] = at_seconds = _now() + seconds
        if key in self._due:
            # Marked meanwhile.
            self._due[key] = at_seconds

    async def _back_off(self, asked_seconds: float | None) -> None:
        """Write nothing for a while: the server cannot, whatever the object is."""
        await asyncio.sleep(self._backoff.delay_seconds(_now(), asked_seconds))


def object_path(key: StatusKey) -> str:
    """Path of an object of ``culvert.dev`` in the API."""
    namespace = f"namespaces/{key.key.namespace}/" if key.key.namespace else ""
    return f"/apis/culvert.dev/v1alpha1/{namespace}{PLURALS[key.kind]}/{key.key.name}"


def status_path(key: StatusKey) -> str:
    """Path of its status."""
    return object_path(key) + "/status"


def _now() -> float:
    return asyncio.get_running_loop().time()
