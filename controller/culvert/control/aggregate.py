"""What all nodes have reported, added up; pure.

Nothing is kept beyond the process: a controller that has just become the leader knows nothing, and
every agent's next report is refused and followed by a full one. Until all have come there is no
telling how many nodes an object is programmed on; ``is_settled`` says when there is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from culvert.control.nodes import ReportingNode, ReportingNodes
from culvert.control.object_states import ObjectStates
from culvert.control.reported_findings import ReportedFindings
from culvert.model.conditions import NodeTally
from culvert.model.report import (
    MAX_HEARTBEAT_SECONDS,
    SILENT_SECONDS,
    NodeReport,
    ObjectId,
    ObjectReport,
    ObjectState,
    ReportedFinding,
)

MAX_OBJECTS = 20_000
"""At 5,000 nodes 100 MB. Further objects are ignored: nobody is told that they are programmed."""

SETTLING_SECONDS = 1.5 * MAX_HEARTBEAT_SECONDS
"""After this long every agent that runs has reported to a new leader."""

_SILENT_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Changes:
    """What is different since one last asked."""

    objects: frozenset[ObjectId] = frozenset()
    findings: bool = False


class Aggregate:
    """The sum of all reports since ``started_seconds``. All times are of one monotonic clock."""

    def __init__(self, started_seconds: float) -> None:
        self._started_seconds = started_seconds
        self._nodes = ReportingNodes()
        self._objects: dict[ObjectId, ObjectStates] = {}
        self._findings = ReportedFindings()
        self._expected: frozenset[str] = frozenset()
        self._silent: set[str] = set()
        self._changed: set[ObjectId] = set()
        self._findings_changed = False
        self.objects_ignored = 0
        """Number of reported objects for which there was no room, ever."""

    @property
    def findings_ignored(self) -> int:
        """Number of reported findings for which there was no room, ever."""
        return self._findings.ignored

    def take(self, report: NodeReport, now_seconds: float) -> bool:
        """Take one report; False where it adds to what is not known here: ask for a full one."""
        node = self._nodes.get(report.node)
        if node is not None and node.session_id == report.session_id:
            if report.sequence <= node.sequence:
                # Overtaken: its sender has sent a later one, which covers this one.
                return True
            if not report.full and report.base > node.sequence:
                return False
        elif not report.full:
            return False
        if node is None:
            node = self._nodes.add(report.node)
            self._all_changed()
        if report.full:
            self._drop_all_but(node, report)
        node.session_id, node.sequence = report.session_id, report.sequence
        node.heard_seconds = now_seconds
        self._silent.discard(node.name)
        for one in report.objects:
            self._put(node.slot, one)
        for removed in report.removed:
            self._clear(node.slot, removed)
        resolved = self._findings.remove(node.slot, report.resolved)
        added = self._findings.add(node.slot, report.findings)
        self._findings_changed |= resolved or added
        return True

    def retain_nodes(self, names: Collection[str]) -> None:
        """Forget the nodes that the cluster has no more; ``names`` are those that it has."""
        self._expected = frozenset(names)
        for node in [one for one in self._nodes if one.name not in self._expected]:
            self._drop(node)
            self._nodes.remove(node.name)
            self._silent.discard(node.name)
            self._all_changed()

    def expire(self, now_seconds: float) -> None:
        """What silent nodes have said counts no more: nobody knows how they are.

        One call is short even if all of them have fallen silent; call it every second.
        """
        oldest_seconds = now_seconds - SILENT_SECONDS
        silent = [one for one in self._nodes if one.heard_seconds < oldest_seconds]
        for node in [one for one in silent if one.name not in self._silent][:_SILENT_AT_ONCE]:
            # What it says next adds to nothing, so that it is asked for all.
            node.session_id = ""
            self._silent.add(node.name)
            self._drop(node)
            self._all_changed()

    def is_settled(self, now_seconds: float) -> bool:
        """Whether every node of the cluster has reported, or has had the time to."""
        if now_seconds - self._started_seconds >= SETTLING_SECONDS:
            return True
        return bool(self._expected) and all(self._nodes.get(name) for name in self._expected)

    def tally(self, key: ObjectId, generation: int) -> NodeTally:
        """How far the nodes are with a generation of an object.

        As soon as one node has something to hold for it, those that have not spoken of this
        generation count as if they had too: they may not have heard of it yet.
        """
        states = self._objects.get(key)
        if states is None:
            return NodeTally()
        programmed = states.count(ObjectState.PROGRAMMED)
        rejected = states.count(ObjectState.REJECTED)
        held = programmed + rejected + states.count(ObjectState.PENDING)
        needed = held and held + len(self._nodes) - states.spoken
        if states.generation != generation:
            return NodeTally(needed=needed, message=self._silence())
        first = states.first_rejection()
        message = f"{self._nodes.name_of(first[0])}: {first[1]}" if first else self._silence()
        return NodeTally(needed, programmed, rejected, message)

    def findings(self) -> list[ReportedFinding]:
        """Everything that is wrong on some node, each thing once."""
        return sorted(self._findings)

    def nodes_with(self, finding: ReportedFinding, most: int) -> list[str]:
        """Names of the nodes that have a finding, the first ``most`` of them in their order."""
        return self._nodes.names_of(self._findings.slots_of(finding), most)

    def drain_changes(self) -> Changes:
        """Return what has changed since the last call."""
        changes = Changes(frozenset(self._changed), self._findings_changed)
        self._changed.clear()
        self._findings_changed = False
        return changes

    @property
    def node_count(self) -> int:
        """Number of nodes that have reported, silent ones among them."""
        return len(self._nodes)

    @property
    def object_count(self) -> int:
        """Number of objects that some node has spoken of."""
        return len(self._objects)

    def silent_nodes(self) -> list[str]:
        """Names of the nodes that have not been heard of for too long."""
        return sorted(self._silent)

    def _silence(self) -> str:
        if not self._silent:
            return ""
        others = f" and {len(self._silent) - 1} more" if len(self._silent) > 1 else ""
        return f"{min(self._silent)}{others}: no report for {SILENT_SECONDS:.0f} s"

    def _put(self, slot: int, report: ObjectReport) -> None:
        states = self._objects.get(report.id)
        if states is None:
            if len(self._objects) >= MAX_OBJECTS:
                self.objects_ignored += 1
                return
            states = self._objects[report.id] = ObjectStates()
        if states.put(slot, report.generation, report.state, report.message):
            self._changed.add(report.id)
        if not states.spoken:
            del self._objects[report.id]

    def _clear(self, slot: int, key: ObjectId) -> None:
        states = self._objects.get(key)
        if states is not None and states.clear(slot):
            self._changed.add(key)
            if not states.spoken:
                del self._objects[key]

    def _drop(self, node: ReportingNode) -> None:
        for key in list(self._objects):
            self._clear(node.slot, key)
        of_node = self._findings.of_slot(node.slot)
        self._findings_changed |= self._findings.remove(node.slot, of_node)

    def _drop_all_but(self, node: ReportingNode, report: NodeReport) -> None:
        """What stays is not taken away for a moment, so that nobody is told of a change."""
        kept = {one.id for one in report.objects}
        for key in [one for one in self._objects if one not in kept]:
            self._clear(node.slot, key)
        gone = set(self._findings.of_slot(node.slot)).difference(report.findings)
        self._findings_changed |= self._findings.remove(node.slot, gone)

    def _all_changed(self) -> None:
        self._changed.update(self._objects)
