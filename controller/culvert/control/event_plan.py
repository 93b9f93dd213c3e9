"""Findings as Events on the objects they are about (``events.k8s.io/v1``); pure.

An Event's name follows from its key and the object's uid. Whoever leads next, or sees the finding
again, makes the same Event and is told that it is there.
"""

from __future__ import annotations

import hashlib
from typing import Any

from culvert.control.event_key import EventKey
from culvert.control.regarding import CLUSTER_EVENTS_NAMESPACE, Regarding
from culvert.model import codes
from culvert.model.report import ReportedFinding

CONTROLLER = "culvert.dev/controller"
_MAX_NOTE_BYTES = 1024
_MAX_NAME_CHARACTERS = 253
_HASH_CHARACTERS = 16


def event_of(
    key: EventKey,
    finding: ReportedFinding,
    uid: str,
    *,
    reporting_instance: str,
    now_rfc3339_micro: str,
) -> dict[str, Any]:
    """Return the Event that says the finding; ``uid`` is that of the object."""
    about = key.about
    reference = {
        "apiVersion": about.api_version,
        "kind": about.kind,
        "name": about.name,
        "uid": uid,
    }
    if about.namespace:
        reference["namespace"] = about.namespace
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "namespace": about.namespace or CLUSTER_EVENTS_NAMESPACE,
            "name": _name(key, uid),
        },
        "eventTime": now_rfc3339_micro,
        "reportingController": CONTROLLER,
        "reportingInstance": reporting_instance[:128],
        "action": "Reconcile",
        "reason": reason_of(finding.code),
        "type": "Warning",
        "regarding": reference,
        "note": _note(finding, about),
    }


def reason_of(code: str) -> str:
    """The name of a finding's code in CamelCase; the code itself where it is not known here."""
    return _REASONS.get(code, code)


def _note(finding: ReportedFinding, about: Regarding) -> str:
    whose = "" if finding.subject.startswith(f"{about.kind} ") else f"{finding.subject}: "
    where = f"{finding.field}: " if finding.field else ""
    text = f"{finding.code} {whose}{where}{finding.message}; {finding.remedy}"
    encoded = text.encode()
    if len(encoded) <= _MAX_NOTE_BYTES:
        return text
    return encoded[: _MAX_NOTE_BYTES - 3].decode(errors="ignore") + "…"


def _name(key: EventKey, uid: str) -> str:
    parts = (uid, key.code, key.subject, key.field, key.message)
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_HASH_CHARACTERS]
    head = key.about.name[: _MAX_NAME_CHARACTERS - _HASH_CHARACTERS - 1].rstrip(".-")
    return f"{head}.{digest}"


def _reasons() -> dict[str, str]:
    return {
        value.id: "".join(part.capitalize() for part in name.split("_"))
        for name, value in vars(codes).items()
        if isinstance(value, codes.Code)
    }


_REASONS = _reasons()
