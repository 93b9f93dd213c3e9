"""What to ask the API next to hold a true copy of one collection. Pure: no I/O, clock or chance.

List, then watch from the list's resourceVersion; a watch that ends is taken up where it was, and
one that cannot be is preceded by a new list (Kubernetes, "API Concepts": efficient detection of
changes). A server that can streams the list as the first part of a watch (``sendInitialEvents``,
KEP-3157); one that refuses is asked for pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

import msgspec

from culvert.kube.collection import Collection, Decode
from culvert.kube.envelope import event_of, metadata_of, page_of
from culvert.kube.errors import ApiError, ApiUnreachable, error_from_answer
from culvert.model.key import ObjectKey

T = TypeVar("T")

PAGE_OBJECTS = 500
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""Annotation of the bookmark that ends a streamed list."""

_ABSENT_AFTER = 2
"""So many 404 in a row are believed: a single one may come of a server that is still starting."""
_CANNOT_STREAM = frozenset({400, 422, 500, 501})
"""Refusals of a streamed list: a server that does not know it, or has it turned off (422), or whose
etcd is older than 3.4.31 or 3.5.13 and cannot report its progress (500, as an ``ERROR`` event)."""


class _Phase(Enum):
    LIST = auto()
    WATCH = auto()


@dataclass(frozen=True, slots=True)
class Request:
    """What to send: query parameters, and whether the answer is a stream of events."""

    params: dict[str, str | int | bool]
    is_watch: bool


class Listing(Generic[T]):
    """One collection: its copy, and where its list or watch stands.

    Ask ``next_request``, send it, and give what comes back: ``take_page`` or ``take_event`` for
    each, ``end`` after a stream, ``fail`` for an error of either. ``synced`` is whether the copy
    has ever been complete, ``absent`` whether the server says that it has no such kind, ``lists``
    how often a list was completed.
    """

    def __init__(
        self,
        decode: Decode[T],
        *,
        page_objects: int = PAGE_OBJECTS,
        stream_lists: bool = True,
        optional: bool = False,
    ) -> None:
        self.collection = Collection(decode)
        self.synced = False
        self.absent = False
        self.lists = 0
        self._page_objects = page_objects
        self._stream_lists = stream_lists
        self._optional = optional
        self._phase = _Phase.LIST
        self._version = ""
        self._next_page = ""
        self._listed: set[ObjectKey] = set()
        self._not_found = 0

    @property
    def resource_version(self) -> str:
        """Of the newest event, or the list, that the copy has; empty before the first list."""
        return self._version

    @property
    def is_watching(self) -> bool:
        """Whether the copy is complete and the next request only follows it."""
        return self._phase is _Phase.WATCH

    def next_request(self) -> Request:
        """What to send now."""
        if self._phase is _Phase.WATCH:
            return Request(self._watch_params(), is_watch=True)
        self._listed = set() if not self._next_page else self._listed
        if self._stream_lists:
            params = self._watch_params()
            params["sendInitialEvents"] = True
            params["resourceVersionMatch"] = "NotOlderThan"
            return Request(params, is_watch=True)
        params = {"limit": self._page_objects} if self._page_objects else {}
        if self._next_page:
            params["continue"] = self._next_page
        elif self._version:
            # Never back in time: another API server may lag behind the one that we heard before.
            params["resourceVersion"] = self._version
            params["resourceVersionMatch"] = "NotOlderThan"
        return Request(params, is_watch=False)

    def take_page(self, body: bytes) -> None:
        """Take one page of a list.

        Raises:
            ApiUnreachable: it is not one.
        """
        try:
            page = page_of(body)
            read = [(metadata_of(raw), raw) for raw in page.items or ()]
        except msgspec.MsgspecError as error:
            raise ApiUnreachable(f"a list that is none: {error}") from error
        for metadata, raw in read:
            self._listed.add(metadata.key)
            self.collection.put(metadata, raw)
        self._next_page = page.metadata.next_page
        if not self._next_page:
            self._finish_list(page.metadata.resource_version)

    def take_event(self, line: bytes) -> None:
        """Take one event of a watch.

        Raises:
            ApiError: it is the server's word that the watch is over.
            ApiUnreachable: it is not an event.
        """
        try:
            event = event_of(line)
            if event.type == "ERROR":
                # What was missed is not known, whatever the reason was.
                self._phase = _Phase.LIST
                raise error_from_answer(bytes(event.object))
            metadata = metadata_of(event.object)
        except msgspec.MsgspecError as error:
            self._phase = _Phase.LIST
            raise ApiUnreachable(f"a watch event that is none: {error}") from error
        match event.type:
            case "BOOKMARK":
                if self._phase is _Phase.LIST:
                    if INITIAL_EVENTS_END in (metadata.annotations or {}):
                        self._finish_list(metadata.resource_version)
                    return
            case "DELETED":
                self._listed.discard(metadata.key)
                self.collection.remove(metadata.key)
            case _:
                if self._phase is _Phase.LIST:
                    self._listed.add(metadata.key)
                self.collection.put(metadata, event.object)
        if self._phase is _Phase.WATCH:
            self._version = metadata.resource_version

    def end(self) -> None:
        """The server ended a stream in good order, as it does after the time we asked for."""
        if self._phase is _Phase.LIST:
            # It knows nothing of streamed lists, or cannot finish one.
            self._stream_lists = False

    def fail(self, error: Exception) -> bool:
        """A request, or the stream that answered it, failed. Whether to ask on without a pause."""
        status = error.status if isinstance(error, ApiError) else 0
        self._not_found = self._not_found + 1 if status == 404 else 0
        if self._phase is _Phase.WATCH:
            if isinstance(error, ApiError) and status != 429 and status < 500:
                self._phase = _Phase.LIST
                self._version = "" if error.is_expired else self._version
            return False
        if self._stream_lists and status in _CANNOT_STREAM:
            self._stream_lists = False
            return True
        if isinstance(error, ApiError):
            if self._next_page and error.is_expired:
                # A list so slow that its pages expire is better asked for in one.
                self._page_objects = 0
            # The server may have gone back in time itself, by a restored backup: take what it has.
            self._version = ""
        self._next_page = ""
        if self._optional and self._not_found >= _ABSENT_AFTER:
            self.collection.keep_only(())
            self.synced = self.absent = True
        return False

    def _finish_list(self, resource_version: str) -> None:
        self.collection.keep_only(self._listed)
        self._listed = set()
        self._next_page = ""
        self._version = resource_version
        self._phase = _Phase.WATCH
        self._not_found = 0
        self.lists += 1
        self.synced, self.absent = True, False

    def _watch_params(self) -> dict[str, str | int | bool]:
        params: dict[str, str | int | bool] = {"watch": True, "allowWatchBookmarks": True}
        if self._version:
            params["resourceVersion"] = self._version
        return params
