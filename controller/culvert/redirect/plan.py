"""What to change in the maps to get from what they have to what is wanted; pure."""

from __future__ import annotations

from dataclasses import dataclass

from culvert.redirect.encode import (
    CONFIG,
    DESTINATIONS,
    RECONCILED_MAPS,
    MapContents,
    shows_identity,
)


@dataclass(frozen=True, slots=True)
class Put:
    """Write one entry."""

    map_name: str
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete one entry."""

    map_name: str
    key: bytes


Change = Put | Remove


def diff(have: MapContents, want: MapContents) -> list[Change]:
    """Changes in the order in which they must be made.

    Entries are added before any is removed, so that at no moment a destination that is both in
    ``have`` and in ``want`` is missing; removals go the other way round, so that a pod's entry is
    gone before the exclusions it refers to. Nothing is written that is there already.
    """
    changes: list[Change] = []
    for name in RECONCILED_MAPS:
        present, wanted = have.get(name, {}), want.get(name, {})
        if present is wanted:
            continue
        changes += [
            Put(name, key, value) for key, value in wanted.items() if present.get(key) != value
        ]
    for name in reversed(RECONCILED_MAPS):
        present, wanted = have.get(name, {}), want.get(name, {})
        if present is wanted:
            continue
        changes += [Remove(name, key) for key in present if key not in wanted]
    return changes


@dataclass(frozen=True, slots=True)
class Phases:
    """A plan cut in two around the moment when the proxy has the matching configuration."""

    before_proxy: list[Change]
    after_proxy: list[Change]


def phases(changes: list[Change], have: MapContents) -> Phases:
    """Order the changes of ``have`` against the proxy's configuration: make before break.

    A destination is captured only after the proxy knows where to send it, and is released before
    the proxy forgets it. Identity numbers go on being shown until the proxy no longer takes a port
    for one. All else does not depend on the proxy and comes first.
    """

    def needs_proxy(change: Change) -> bool:
        if not isinstance(change, Put):
            return False
        if change.map_name == CONFIG:
            before = have.get(CONFIG, {}).get(change.key)
            return (
                before is not None and shows_identity(before) and not shows_identity(change.value)
            )
        return change.map_name == DESTINATIONS

    return Phases(
        before_proxy=[change for change in changes if not needs_proxy(change)],
        after_proxy=[change for change in changes if needs_proxy(change)],
    )
