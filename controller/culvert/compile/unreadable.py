"""Outcomes of objects of ``culvert.dev`` that a source could not read.

The API server refuses what a schema can tell, so these are few: a value that only the mesh can
judge, or an object older or newer than its definition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from culvert.model.codes import UNREADABLE_OBJECT
from culvert.model.finding import Finding
from culvert.model.key import ObjectKey
from culvert.model.outcome import ObjectOutcome, Reason

_KINDS = frozenset({"AuthorizationPolicy", "MeshConfig", "PeerAuthentication", "TrafficPolicy"})


def with_unreadable(
    outcomes: Iterable[ObjectOutcome], findings: Iterable[Finding]
) -> Sequence[ObjectOutcome]:
    """``outcomes``, with those of unreadable objects in place of their last good versions'.

    What carries a last good version still does, and is still named. Which generation it was that
    could not be read is not known: such an outcome says 0.
    """
    by_object = {(one.kind, one.key): one for one in outcomes}
    for finding in findings:
        subject = _object_of(finding)
        if subject is not None:
            by_object[subject] = _unreadable(finding, subject, by_object.get(subject))
    return tuple(by_object.values())


def _object_of(finding: Finding) -> tuple[str, ObjectKey] | None:
    kind, _, where = finding.subject.partition(" ")
    if finding.code != UNREADABLE_OBJECT.id or kind not in _KINDS:
        return None
    namespace, _, name = where.rpartition("/")
    return kind, ObjectKey(namespace, name)


def _unreadable(
    finding: Finding, subject: tuple[str, ObjectKey], last_good: ObjectOutcome | None
) -> ObjectOutcome:
    kind, key = subject
    message = f"{finding.field}: {finding.message} ({finding.remedy})".removeprefix(": ")
    if last_good is not None:
        message += "; what it was before stays in force"
    return replace(
        last_good or ObjectOutcome(kind=kind, key=key),
        generation=0,
        accepted=False,
        reason=Reason.INVALID,
        message=message,
    )
