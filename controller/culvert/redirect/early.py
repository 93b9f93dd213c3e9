"""Connections that pods made before they were captured: they are left alone, and counted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from culvert.redirect.encode import PODS
from culvert.redirect.plan import Change, Put


class EarlyConnections:
    """The counts of the pods that are captured now.

    Every TCP connection counts, wherever it went and whether it is still open, since the programs
    were attached: the kernel tells nobody of what was there before.
    """

    def __init__(self) -> None:
        self._by_cgroup: dict[int, int] = {}
        self.total = 0
        """Number of connections, of pods that are gone too."""

    def follow(self, written: Iterable[Change], take: Callable[[int], int]) -> None:
        """Ask for the counts of pods that came to the maps, forget pods that went.

        ``take`` is ``KernelMaps.take_early``.
        """
        for change in written:
            if change.map_name != PODS:
                continue
            cgroup_id = int.from_bytes(change.key, sys.byteorder)
            if not isinstance(change, Put):
                self._by_cgroup.pop(cgroup_id, None)
            elif count := take(cgroup_id):
                self._by_cgroup[cgroup_id] = self._by_cgroup.get(cgroup_id, 0) + count
                self.total += count

    def by_cgroup(self) -> dict[int, int]:
        """cgroup id -> number, for pods that made any."""
        return dict(self._by_cgroup)
