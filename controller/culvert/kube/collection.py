"""A copy of one collection's objects: decoded, the unchanged ones always the same object. Pure.

An object is decoded when its resourceVersion is new, and replaced when its decoded value is: a
change to fields that nobody reads is no change. One that cannot be decoded is a finding and keeps
its last good value; one that decodes to None is of no interest and is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from culvert.kube.envelope import Metadata
from culvert.model.finding import Finding
from culvert.model.key import ObjectKey

T = TypeVar("T")

Decode = Callable[[msgspec.Raw], T | None]
"""JSON of one object to its value; None where nobody needs it. Raises ``Undecodable``."""


class Undecodable(Exception):  # noqa: N818 - a verdict on an object, as findings are
    """An object is not what it should be; ``finding`` says so in its owner's words."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    resource_version: str
    uid: str
    value: T | None
    finding: Finding | None = None


class Collection(Generic[T]):
    """The objects of one collection by key.

    ``revision`` grows with every change that ``items`` or ``findings`` shows.
    """

    def __init__(self, decode: Decode[T]) -> None:
        self.revision = 0
        self._decode = decode
        self._entries: dict[ObjectKey, _Entry[T]] = {}
        self._items: Mapping[ObjectKey, T] = {}
        self._findings: tuple[Finding, ...] = ()
        self._snapshot_revision = 0

    @property
    def items(self) -> Mapping[ObjectKey, T]:
        """What is there now: never changed afterwards, the same mapping until something changes."""
        self._take_snapshot()
        return self._items

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What could not be decoded, by key."""
        self._take_snapshot()
        return self._findings

    def put(self, metadata: Metadata, raw: msgspec.Raw) -> None:
        """Take an object as it is now."""
        have = self._entries.get(metadata.key)
        want = self._read(metadata, raw, have)
        if want is not have:
            self._entries[metadata.key] = want
            self._note(have, want)

    def remove(self, key: ObjectKey) -> None:
        """Forget an object; one that is not there is fine."""
        gone = self._entries.pop(key, None)
        if gone is not None:
            self._note(gone, None)

    def keep_only(self, keys: Iterable[ObjectKey]) -> None:
        """Forget every object but these: what a complete list leaves out is gone."""
        for key in self._entries.keys() - set(keys):
            self.remove(key)

    def _read(self, metadata: Metadata, raw: msgspec.Raw, have: _Entry[T] | None) -> _Entry[T]:
        version, uid = metadata.resource_version, metadata.uid
        if have is not None and have.uid == uid and have.resource_version == version:
            return have
        try:
            value = self._decode(raw)
        except Undecodable as error:
            # Another object of the same name has no claim on its predecessor's value.
            last_good = have.value if have is not None and have.uid == uid else None
            return _Entry(version, uid, last_good, error.finding)
        if have is not None and value == have.value:
            value = have.value
        return _Entry(version, uid, value)

    def _note(self, have: _Entry[T] | None, want: _Entry[T] | None) -> None:
        shown = (have.value, have.finding) if have else (None, None)
        following = (want.value, want.finding) if want else (None, None)
        if shown[0] is not following[0] or shown[1] != following[1]:
            self.revision += 1

    def _take_snapshot(self) -> None:
        if self._snapshot_revision == self.revision:
            return
        self._snapshot_revision = self.revision
        self._items = {
            key: entry.value for key, entry in self._entries.items() if entry.value is not None
        }
        findings = tuple(sorted(e.finding for e in self._entries.values() if e.finding))
        if findings != self._findings:
            self._findings = findings
