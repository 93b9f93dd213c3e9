"""Which Events there are to be, and what makes two findings one Event; pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from culvert.control.regarding import Regarding, regarding
from culvert.model.report import ReportedFinding

MAX_NODES_TOLD = 5
"""Of the nodes that have the same thing wrong, on so many there is an Event, the first by name."""


@dataclass(frozen=True, slots=True, order=True)
class EventKey:
    """Findings with the same key are one Event, and its note is that of the first of them.

    ``message`` is empty for an Event on a node: what is wrong with a node is told in counts,
    versions and words of Envoy's that change by themselves while the same thing is wrong, and
    ``events.k8s.io/v1`` takes no change of a note. What is wrong with an object of a user's is told
    in words that follow from what is written in it: other words are another Event.
    """

    about: Regarding
    code: str
    subject: str
    field: str
    message: str


def standing_events(
    findings: Iterable[ReportedFinding],
    nodes_with: Callable[[ReportedFinding, int], Collection[str]],
) -> dict[EventKey, ReportedFinding]:
    """Return what is to be said now: on the object that a finding is about, or else on nodes.

    ``nodes_with`` gives names of nodes that have a finding, as many as asked for, the first by
    name; none while that is not known. The result is in the order of ``findings``, nodes last.
    """
    standing: dict[EventKey, ReportedFinding] = {}
    on_nodes: dict[tuple[str, str, str], dict[str, ReportedFinding]] = {}
    for finding in findings:
        what = (finding.code, finding.subject, finding.field)
        about = regarding(finding.subject)
        if about is not None:
            message = "" if about.kind == "Node" else finding.message
            standing.setdefault(EventKey(about, *what, message), finding)
            continue
        told = on_nodes.setdefault(what, {})
        for node in nodes_with(finding, MAX_NODES_TOLD):
            told.setdefault(node, finding)
    for what, told in on_nodes.items():
        for node in sorted(told)[:MAX_NODES_TOLD]:
            standing[EventKey(Regarding("Node", "", node), *what, "")] = told[node]
    return standing
