"""The pinned maps of one node, read and written in place."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from culvert.redirect.abi import Counter, ListenerCount, Verdict
from culvert.redirect.encode import CONFIG, RECONCILED_MAPS, MapContents
from culvert.redirect.plan import Change, Put
from culvert.redirect.refusals import Refusal, decode_refusal
from culvert.redirect.syscall import Map

_COUNTERS = "cv_counters"
_LISTENERS = "cv_proxy_listeners"
_LOOPBACK = "cv_loopback"
_EARLY = "cv_early"
_REFUSED = "cv_refused"
_SLOT_ZERO = bytes(4)


@dataclass(frozen=True, slots=True)
class Tally:
    """How often a verdict was reached, and the payload it decided over, since the maps exist."""

    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class MapFull:
    """A map that had no room for entries that were wanted."""

    map_name: str
    max_entries: int
    refused: int


class RedirectMaps(Protocol):
    """What the reconciler needs of the maps; the in-memory twin passes the same contract tests."""

    def read(self) -> MapContents:
        """Everything the reconciled maps hold now."""
        ...

    def apply(self, changes: Iterable[Change]) -> list[MapFull]:
        """Make the changes in order; what does not fit is left out and reported."""
        ...

    def unconfirmed(self, changes: Iterable[Change]) -> list[Change]:
        """Which of the changes the maps do not show when they are read back."""
        ...

    def tallies(self) -> dict[Verdict, Tally]:
        """The verdict counters, all CPUs together."""
        ...


def possible_cpus(text: str) -> int:
    """Number of slots of a per-CPU map, from ``/sys/devices/system/cpu/possible``."""
    return max(int(part.rpartition("-")[2]) for part in text.strip().split(",")) + 1


class KernelMaps:
    """The maps pinned in one directory of bpffs."""

    def __init__(self, directory: Path) -> None:
        """Open the maps.

        Raises:
            OSError: a map is not pinned there.
        """
        self.directory = directory
        self._maps: dict[str, Map] = {}
        for name in (*RECONCILED_MAPS, _COUNTERS, _LISTENERS, _LOOPBACK, _EARLY, _REFUSED):
            self._maps[name] = Map(str(directory / name))
        self._cpus = possible_cpus(Path("/sys/devices/system/cpu/possible").read_text())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptors; pins and programs stay."""
        for opened in self._maps.values():
            opened.close()

    def read(self) -> MapContents:
        """Everything the reconciled maps hold now."""
        contents: MapContents = {}
        for name in RECONCILED_MAPS:
            entries = contents[name] = {}
            opened = self._maps[name]
            for key in list(opened.keys()):
                value = opened.lookup(key)
                # The one slot of an array always exists: all zero is "never written".
                if value is not None and (name != CONFIG or any(value)):
                    entries[key] = value
        return contents

    def apply(self, changes: Iterable[Change]) -> list[MapFull]:
        """Make the changes in order; what does not fit is left out and reported.

        Raises:
            OSError: any failure but a full map.
        """
        refused: dict[str, int] = {}
        for change in changes:
            opened = self._maps[change.map_name]
            if not isinstance(change, Put):
                if change.map_name != CONFIG:
                    opened.delete(change.key)
                continue
            try:
                opened.update(change.key, change.value)
            except OSError as error:
                if error.errno not in (errno.E2BIG, errno.ENOSPC, errno.ENOMEM):
                    raise
                refused[change.map_name] = refused.get(change.map_name, 0) + 1
        return [
            MapFull(name, self._maps[name].max_entries, count) for name, count in refused.items()
        ]

    def unconfirmed(self, changes: Iterable[Change]) -> list[Change]:
        """Which of the changes the maps do not show when they are read back."""
        return [
            change
            for change in changes
            if self._maps[change.map_name].lookup(change.key)
            != (change.value if isinstance(change, Put) else None)
            and (isinstance(change, Put) or change.map_name != CONFIG)
        ]

    def tallies(self) -> dict[Verdict, Tally]:
        """The verdict counters, all CPUs together."""
        result = {}
        opened = self._maps[_COUNTERS]
        slots = Counter * self._cpus
        for verdict in Verdict:
            raw = opened.lookup(int(verdict).to_bytes(4, sys.byteorder), 16 * self._cpus)
            values = slots.from_buffer_copy(raw or bytes(16 * self._cpus))
            result[verdict] = Tally(
                sum(value.count for value in values), sum(value.bytes for value in values)
            )
        return result

    def early(self, cgroup_id: int) -> int:
        """Number of TCP connections that a pod made while it was not in the maps, to others than
        itself. It stays as it is while the pod is in them.
        """
        raw = self._maps[_EARLY].lookup(cgroup_id.to_bytes(8, sys.byteorder))
        return int.from_bytes(raw or b"", sys.byteorder)

    def forget_early(self, cgroup_id: int) -> None:
        """Have that count begin at 0 again."""
        self._maps[_EARLY].delete(cgroup_id.to_bytes(8, sys.byteorder))

    def take_refused(self) -> list[Refusal]:
        """Who was refused by strict pods since the last call. What comes at the same moment may be
        missed here; the counters have it.
        """
        opened = self._maps[_REFUSED]
        taken = []
        for key in list(opened.keys()):
            value = opened.lookup(key)
            opened.delete(key)
            if value is not None:
                taken.append(decode_refusal(key, value))
        return taken

    def max_entries(self, map_name: str) -> int:
        """Capacity of one of the maps."""
        return self._maps[map_name].max_entries

    def proxy_listeners(self) -> int:
        """Number of proxy sockets in LISTEN, as the kernel counts them."""
        raw = self._maps[_LISTENERS].lookup(_SLOT_ZERO) or bytes(8)
        return int(ListenerCount.from_buffer_copy(raw).sockets)

    def set_proxy_listeners(self, sockets: int) -> None:
        """Correct the count, for a proxy that listened before the programs were attached."""
        self._maps[_LISTENERS].update(_SLOT_ZERO, bytes(ListenerCount(sockets)))

    def accelerate_loopback(self, netns_cookie: int) -> None:
        """Allow acceleration of loopback connections inside one network namespace."""
        self._maps[_LOOPBACK].update(
            netns_cookie.to_bytes(8, sys.byteorder), (1).to_bytes(4, "little")
        )
