"""Which nodes have reported which finding, a bit for each; pure.

Most findings are about objects that all nodes read, and all nodes report them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from culvert.model.report import ReportedFinding

MAX_FINDINGS = 10_000
"""Different ones. Those of a cluster are far fewer; more come from a node that makes them up."""


class ReportedFindings:
    """All findings that some node has now."""

    def __init__(self) -> None:
        self._slots: dict[ReportedFinding, int] = {}
        self.ignored = 0
        """Number of reported findings for which there was no room, ever."""

    def add(self, slot: int, findings: Collection[ReportedFinding]) -> bool:
        """Note that a node has them; return whether any is new to it."""
        is_new = False
        for finding in findings:
            slots = self._slots.get(finding, 0)
            if not slots and len(self._slots) >= MAX_FINDINGS:
                self.ignored += 1
                continue
            is_new |= not slots >> slot & 1
            self._slots[finding] = slots | 1 << slot
        return is_new

    def remove(self, slot: int, findings: Collection[ReportedFinding]) -> bool:
        """Note that a node has them no more; return whether it had any of them."""
        is_gone = False
        for finding in findings:
            slots = self._slots.get(finding, 0)
            if not slots >> slot & 1:
                continue
            slots &= ~(1 << slot)
            if slots:
                self._slots[finding] = slots
            else:
                del self._slots[finding]
            is_gone = True
        return is_gone

    def of_slot(self, slot: int) -> list[ReportedFinding]:
        """Return what one node has."""
        return [finding for finding, slots in self._slots.items() if slots >> slot & 1]

    def slots_of(self, finding: ReportedFinding) -> int:
        """Return a bit for each node that has it."""
        return self._slots.get(finding, 0)

    def __iter__(self) -> Iterator[ReportedFinding]:
        """Each finding once."""
        return iter(self._slots)
