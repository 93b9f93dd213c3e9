"""In-memory twin of the pinned maps, for unit tests; passes the same contract tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from culvert.redirect.abi import Verdict
from culvert.redirect.encode import CONFIG, RECONCILED_MAPS, MapContents
from culvert.redirect.kernel import MapFull, Tally
from culvert.redirect.plan import Change, Put


class MemoryMaps:
    """Dictionaries with the capacities and the failure behaviour of the kernel's maps."""

    def __init__(self, capacities: Mapping[str, int] | None = None) -> None:
        """``capacities`` bounds single maps; the others are unbounded."""
        self._capacities = dict(capacities or {})
        self._contents: MapContents = {name: {} for name in RECONCILED_MAPS}

    def read(self) -> MapContents:
        """A copy of everything held."""
        return {name: dict(entries) for name, entries in self._contents.items()}

    def apply(self, changes: Iterable[Change]) -> list[MapFull]:
        """As ``KernelMaps.apply``."""
        refused: dict[str, int] = {}
        for change in changes:
            entries = self._contents[change.map_name]
            capacity = self._capacities.get(change.map_name)
            if not isinstance(change, Put):
                if change.map_name != CONFIG:
                    entries.pop(change.key, None)
            elif capacity is not None and change.key not in entries and len(entries) >= capacity:
                refused[change.map_name] = refused.get(change.map_name, 0) + 1
            else:
                entries[change.key] = change.value
        return [MapFull(name, self._capacities[name], count) for name, count in refused.items()]

    def unconfirmed(self, changes: Iterable[Change]) -> list[Change]:
        """As ``KernelMaps.unconfirmed``."""
        return [
            change
            for change in changes
            if self._contents[change.map_name].get(change.key)
            != (change.value if isinstance(change, Put) else None)
            and (isinstance(change, Put) or change.map_name != CONFIG)
        ]

    def tallies(self) -> dict[Verdict, Tally]:
        """No packet ever reaches the twin."""
        return {verdict: Tally(0, 0) for verdict in Verdict}
