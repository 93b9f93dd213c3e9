"""Reads the labels and annotations of one object, and says what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

from culvert.compile.annotations.parsed import Problem
from culvert.compile.annotations.registry import PREFIX, Annotation, Kind, On, homes_of, known_names
from culvert.model.codes import INVALID_MESH_LABEL, UNKNOWN_ANNOTATION, Code
from culvert.model.finding import Finding, Severity, concise

T = TypeVar("T")

MAX_PROBLEMS = 5
"""As many bad items of one list, and unknown names, are told one by one."""

_FIELDS = {Kind.LABEL: "labels", Kind.ANNOTATION: "annotations"}


class Reader:
    """One object's labels and annotations. ``findings`` grow as it reads."""

    def __init__(
        self, on: On, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]
    ) -> None:
        """``name`` is that of the object, with its namespace where it has one."""
        self.findings: list[Finding] = []
        self._on = on
        self._subject = f"{on} {name}"
        self._values = {Kind.LABEL: labels, Kind.ANNOTATION: annotations}
        # Most objects have none; looking for unknown ones is what costs.
        if any(key.startswith(PREFIX) for part in self._values.values() for key in part):
            self._report_unknown()

    def has(self, annotation: Annotation[T]) -> bool:
        """Whether the object has it, valid or not."""
        return annotation.name in self._values[annotation.kind]

    def read(self, annotation: Annotation[T]) -> T | None:
        """Its value; ``None`` where the default holds, with a finding if that is a surprise."""
        text = self._values[annotation.kind].get(annotation.name)
        if text is None:
            return None
        parsed = annotation.parse(text)
        for problem in parsed.problems[:MAX_PROBLEMS]:
            self.report(INVALID_MESH_LABEL, annotation, problem)
        if others := parsed.problems[MAX_PROBLEMS:]:
            more = Problem(f"{len(others)} more items are not valid", others[0].remedy)
            self.report(INVALID_MESH_LABEL, annotation, more)
        return parsed.value

    def report(self, code: Code, annotation: Annotation[T], problem: Problem) -> None:
        """Add a finding about one of them."""
        self._add(code, annotation.kind, annotation.name, problem)

    def _add(self, code: Code, kind: Kind, name: str, problem: Problem) -> None:
        field = f"metadata.{_FIELDS[kind]}[{name}]"
        message = concise(problem.message)
        finding = Finding(code.id, self._subject, field, message, problem.remedy, Severity.WARNING)
        self.findings.append(finding)

    def _report_unknown(self) -> None:
        for kind in (Kind.ANNOTATION, Kind.LABEL):
            known = known_names(self._on, kind)
            unknown = sorted(
                name for name in self._values[kind] if name.startswith(PREFIX) and name not in known
            )
            for name in unknown[:MAX_PROBLEMS]:
                problem = Problem(f"this {kind} means nothing here", self._remedy(name, kind))
                self._add(UNKNOWN_ANNOTATION, kind, name, problem)
            if others := unknown[MAX_PROBLEMS:]:
                more = Problem(
                    f"it and {len(others) - 1} more after it mean nothing here", "remove them"
                )
                self._add(UNKNOWN_ANNOTATION, kind, others[0], more)

    def _remedy(self, name: str, kind: Kind) -> str:
        if kind is Kind.ANNOTATION and name in known_names(self._on, Kind.LABEL):
            return "make it a label"
        if kind is Kind.LABEL and name in known_names(self._on, Kind.ANNOTATION):
            return "make it an annotation"
        if homes := homes_of(name, kind):
            return f"put it on a {' or a '.join(homes)}"
        # Without the prefix, which makes any two of them look alike.
        known = [known.removeprefix(PREFIX) for known in known_names(self._on, kind)]
        close = get_close_matches(name.removeprefix(PREFIX), known, n=1)
        return f"did you mean {PREFIX}{close[0]}?" if close else "remove it"
