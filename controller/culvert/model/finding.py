"""Findings: what is wrong with one object, said once, in words its owner can act on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_HEAD_CHARACTERS, _TAIL_CHARACTERS = 200, 60


def concise(message: str) -> str:
    """``message``, the middle of a very long one left out: it may quote what somebody wrote."""
    if len(message) <= _HEAD_CHARACTERS + _TAIL_CHARACTERS:
        return message
    return f"{message[:_HEAD_CHARACTERS]}…{message[-_TAIL_CHARACTERS:]}"


class Severity(StrEnum):
    """How much of the object still takes effect."""

    ERROR = "error"
    """The object, or the named part of it, is not in effect."""
    WARNING = "warning"
    """The object is in effect with a default in place of the named field."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One problem with one object.

    ``code`` is stable (``CV0xxx``, listed in ``docs/findings.md``); ``subject`` is
    ``Kind namespace/name`` (or a file path when a document could not be read as an object);
    ``field`` is the path inside the object (``spec.ports[0].appProtocol``), empty for the whole
    object; ``message`` says what is wrong and ``remedy`` what to do.
    """

    code: str
    subject: str
    field: str
    message: str
    remedy: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        where = f"{self.subject} {self.field}".rstrip()
        return f"{self.code} {where}: {self.message} ({self.remedy})"
