"""Keeps a copy of one collection in step with the API, for as long as it runs.

What to ask is decided in ``listing``; here it is asked, and asked again after a pause where it
failed. While the API is away the copy stays as it was, and ``health`` says since when.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import structlog

from culvert.kube.backoff import Backoff
from culvert.kube.collection import Decode
from culvert.kube.errors import AccessError, ApiError, ApiUnreachable
from culvert.kube.listing import Listing, Request
from culvert.model.finding import Finding
from culvert.model.key import ObjectKey

T = TypeVar("T")

_log = structlog.get_logger(__name__)

WATCH_SECONDS = 300
"""At least so long is a watch, at most twice as long: the server's own range."""
SHORT_WATCH_SECONDS = 1.0
"""A watch that ends sooner, without a word, is a failure: else we would ask again without pause."""
ABSENT_RETRY_SECONDS = 30.0


class WatchApi(Protocol):
    """The part of ``KubeClient`` that a reflector uses."""

    async def get(self, path: str, params: Mapping[str, str | int | bool] | None = None) -> bytes:
        """Read a list."""

    def open_stream(
        self, path: str, params: Mapping[str, str | int | bool] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open a watch; entered when the server has accepted it."""


@dataclass(frozen=True, slots=True)
class Health:
    """How good a copy is.

    ``synced``: it has been complete once. ``stale_since_seconds``: UNIX time since when it is not
    followed, None while it is. ``absent``: the server has no such kind. ``error``: the last
    failure, empty while all is well. ``lists`` counts complete lists, ``failures`` what failed.
    """

    synced: bool = False
    stale_since_seconds: float | None = None
    absent: bool = False
    error: str = ""
    lists: int = 0
    failures: int = 0


class Reflector(Generic[T]):
    """One collection. ``path`` is that of the API, such as ``/api/v1/services``.

    ``changed`` is called, in the event loop, when ``items``, ``findings`` or ``health.synced`` may
    have changed. With ``optional`` the kind need not exist: it is then empty, and looked for again
    after ``absent_retry_seconds``.
    """

    def __init__(
        self,
        api: WatchApi,
        path: str,
        decode: Decode[T],
        *,
        changed: Callable[[], None] = lambda: None,
        field_selector: str = "",
        label_selector: str = "",
        optional: bool = False,
        stream_lists: bool = True,
        page_objects: int = 500,
        backoff: Backoff | None = None,
        absent_retry_seconds: float = ABSENT_RETRY_SECONDS,
    ) -> None:
        self.path = path
        self.health = Health(stale_since_seconds=time.time())
        self._api = api
        self._changed = changed
        self._selectors: dict[str, str | int | bool] = {}
        if field_selector:
            self._selectors["fieldSelector"] = field_selector
        if label_selector:
            self._selectors["labelSelector"] = label_selector
        self._backoff = backoff or Backoff(random.random)
        self._absent_retry_seconds = absent_retry_seconds
        self._listing = Listing(
            decode, page_objects=page_objects, stream_lists=stream_lists, optional=optional
        )

    @property
    def items(self) -> Mapping[ObjectKey, T]:
        """The copy: a mapping that never changes, the same one until something does."""
        return self._listing.collection.items

    @property
    def resource_version(self) -> str:
        """How far the copy has come; empty where that is not known."""
        return self._listing.resource_version

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Objects that could not be decoded; their last good versions are in ``items``."""
        return self._listing.collection.findings

    async def run(self) -> None:
        """Follow the collection. Ends only by cancellation."""
        while True:
            try:
                await self._ask(self._listing.next_request())
            except (ApiError, ApiUnreachable, AccessError) as error:
                if not self._listing.fail(error):
                    await asyncio.sleep(self._note_failure(error))

    async def _ask(self, request: Request) -> None:
        params = {**request.params, **self._selectors}
        if not request.is_watch:
            self._take(self._listing.take_page, await self._api.get(self.path, params))
            return
        params["timeoutSeconds"] = round(WATCH_SECONDS * (1 + random.random()))
        clock = asyncio.get_running_loop().time
        opened_seconds, is_empty = clock(), True
        async with self._api.open_stream(self.path, params) as events:
            self._note_progress()
            async for line in events:
                is_empty = False
                self._take(self._listing.take_event, line)
        self._listing.end()
        if is_empty and clock() - opened_seconds < SHORT_WATCH_SECONDS:
            raise ApiUnreachable("the watch ended as soon as it had begun")

    def _take(self, take: Callable[[bytes], None], data: bytes) -> None:
        before = (
            self._listing.collection.revision,
            self._listing.synced,
            self._listing.is_watching,
        )
        try:
            take(data)
        finally:
            after = (
                self._listing.collection.revision,
                self._listing.synced,
                self._listing.is_watching,
            )
            if after != before:
                self._note_progress()
                self._changed()

    def _note_progress(self) -> None:
        """The copy is followed from the moment that it is complete and a watch is open."""
        if not self._listing.is_watching:
            return
        if self.health.error:
            _log.info("following again", path=self.path)
        self.health = Health(synced=True, lists=self._listing.lists, failures=self.health.failures)

    def _note_failure(self, error: ApiError | ApiUnreachable | AccessError) -> float:
        """Say what happened, once per kind of it; the pause until the next try, in seconds."""
        health, listing = self.health, self._listing
        self.health = replace(
            health,
            synced=listing.synced,
            absent=listing.absent,
            # That there is no such kind is an answer like any other.
            stale_since_seconds=None
            if listing.absent and isinstance(error, ApiError) and error.status == 404
            else health.stale_since_seconds or time.time(),
            error=str(error),
            failures=health.failures + 1,
        )
        if not health.error and not listing.absent:
            _log.warning("not followed for now; trying again", path=self.path, error=str(error))
        if (listing.synced, listing.absent) != (health.synced, health.absent):
            self._changed()
        if listing.absent:
            return self._absent_retry_seconds * (0.5 + random.random())
        asked = error.retry_after_seconds if isinstance(error, ApiError) else None
        return self._backoff.delay_seconds(asyncio.get_running_loop().time(), asked)
