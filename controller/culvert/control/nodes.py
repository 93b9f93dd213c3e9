"""The nodes that have reported, each with a number of its own; pure.

A number (slot) is an index into what is kept of each object, so that a node costs an object one
byte. Slots of nodes that are gone are given to new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter


@dataclass(slots=True)
class ReportingNode:
    """One node: how far its session has come, and when it was heard last (monotonic seconds)."""

    name: str
    slot: int
    session_id: str = ""
    sequence: int = 0
    heard_seconds: float = 0.0


class ReportingNodes:
    """All nodes that are known, by name and by slot."""

    def __init__(self) -> None:
        self._by_name: dict[str, ReportingNode] = {}
        self._names: list[str] = []
        self._free: list[int] = []
        # All of them by name, made when it is asked for.
        self._ordered: list[ReportingNode] = []

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[ReportingNode]:
        return iter(self._by_name.values())

    def get(self, name: str) -> ReportingNode | None:
        """Return the node of that name, if it is known."""
        return self._by_name.get(name)

    def add(self, name: str) -> ReportingNode:
        """Make a node that was not known known."""
        if self._free:
            slot = self._free.pop()
            self._names[slot] = name
        else:
            slot = len(self._names)
            self._names.append(name)
        node = self._by_name[name] = ReportingNode(name, slot)
        self._ordered = []
        return node

    def remove(self, name: str) -> None:
        """Forget a node; nothing may be held under its slot any more."""
        node = self._by_name.pop(name)
        self._names[node.slot] = ""
        self._free.append(node.slot)
        self._ordered = []

    def name_of(self, slot: int) -> str:
        """Name of the node that has a slot."""
        return self._names[slot]

    def names_of(self, slots: int, most: int) -> list[str]:
        """Names of the nodes whose slots are bits in ``slots``, in order, the first ``most``.

        Quick where there are few such nodes or many, of however many in all.
        """
        if slots.bit_count() <= _FEW:
            return sorted(map(self.name_of, _places(slots)))[:most]
        if not self._ordered:
            self._ordered = sorted(self, key=attrgetter("name"))
        named = (node.name for node in self._ordered if slots >> node.slot & 1)
        return list(islice(named, most))


_FEW = 64


def _places(bits: int) -> Iterator[int]:
    """The places of the bits that are set, from the lowest."""
    while bits:
        yield (bits & -bits).bit_length() - 1
        bits &= bits - 1
