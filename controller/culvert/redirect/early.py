"""Connections that pods made before they were captured: they are left alone, and counted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from culvert.redirect.encode import PODS
from culvert.redirect.plan import Change, Put


class EarlyConnections:
    """The counts of the pods that are captured now.

    Every TCP connection counts, wherever it went and whether it is still open, since the programs
    were attached: the kernel tells nobody of what was there before. The kernel keeps a pod's count
    for as long as the pod is captured, so that an agent that starts anew has it too.
    """

    def __init__(self) -> None:
        self._by_cgroup: dict[int, int] = {}
        self.total = 0
        """Number of connections, of pods that are gone too."""

    def release(self, planned: Iterable[Change], forget: Callable[[int], None]) -> None:
        """Forget pods that are to leave the maps; ``forget`` is ``KernelMaps.forget_early``.

        Call it before that is done: the pod's next connection counts again.
        """
        for change in planned:
            if change.map_name == PODS and not isinstance(change, Put):
                cgroup_id = _cgroup_id(change.key)
                forget(cgroup_id)
                self._by_cgroup.pop(cgroup_id, None)

    def follow(self, captured: Iterable[bytes], read: Callable[[int], int]) -> None:
        """Read the counts of pods that came to the maps; ``captured`` are the keys of all there.

        ``read`` is ``KernelMaps.early``.
        """
        for cgroup_id in map(_cgroup_id, captured):
            if cgroup_id not in self._by_cgroup:
                self._by_cgroup[cgroup_id] = count = read(cgroup_id)
                self.total += count

    def by_cgroup(self) -> dict[int, int]:
        """cgroup id -> number, for pods that made any."""
        return {cgroup_id: count for cgroup_id, count in self._by_cgroup.items() if count}


def _cgroup_id(pod_key: bytes) -> int:
    return int.from_bytes(pod_key, sys.byteorder)
