"""Findings as Events on the objects they are about (``events.k8s.io/v1``); pure.

An Event's name follows from the object and the finding. Whoever leads next, or sees the finding
again, makes the same Event and is told that it is there.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from culvert.model import codes
from culvert.model.report import ReportedFinding

REFRESH_SECONDS = 1800.0
"""A finding that stands is said again after so long: servers forget Events after an hour."""

CONTROLLER = "culvert.dev/controller"
CLUSTER_EVENTS_NAMESPACE = "default"
"""Where Events on cluster-scoped objects belong."""
_MAX_NOTE_BYTES = 1024
_MAX_NAME_CHARACTERS = 253
_HASH_CHARACTERS = 16

# RFC 1123, as in k8s.io/apimachinery/pkg/util/validation.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

_PATHS = {
    "Service": ("v1", "/api/v1", "services"),
    "Pod": ("v1", "/api/v1", "pods"),
    "Namespace": ("v1", "/api/v1", "namespaces"),
    "Node": ("v1", "/api/v1", "nodes"),
    "EndpointSlice": ("discovery.k8s.io/v1", "/apis/discovery.k8s.io/v1", "endpointslices"),
    "AuthorizationPolicy": (
        "culvert.dev/v1alpha1",
        "/apis/culvert.dev/v1alpha1",
        "authorizationpolicies",
    ),
    "MeshConfig": ("culvert.dev/v1alpha1", "/apis/culvert.dev/v1alpha1", "meshconfigs"),
    "PeerAuthentication": (
        "culvert.dev/v1alpha1",
        "/apis/culvert.dev/v1alpha1",
        "peerauthentications",
    ),
    "TrafficPolicy": ("culvert.dev/v1alpha1", "/apis/culvert.dev/v1alpha1", "trafficpolicies"),
}


@dataclass(frozen=True, slots=True)
class Regarding:
    """The object that an Event is about; ``namespace`` is empty for a cluster-scoped one."""

    kind: str
    namespace: str
    name: str

    @property
    def path(self) -> str:
        """Where the API has it."""
        _, prefix, plural = _PATHS[self.kind]
        namespace = f"namespaces/{self.namespace}/" if self.namespace else ""
        return f"{prefix}/{namespace}{plural}/{self.name}"

    @property
    def events_path(self) -> str:
        """Collection of the Events about it."""
        namespace = self.namespace or CLUSTER_EVENTS_NAMESPACE
        return f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"


def regarding(finding: ReportedFinding, node: str) -> Regarding | None:
    """Return the object that a finding is about: its subject, or else the node that has it.

    None where there is no such node either. A subject is what a node says, and becomes a part of
    paths of the API: one that cannot be an object's name names none.
    """
    kind, _, named = finding.subject.partition(" ")
    namespace, slash, name = named.rpartition("/")
    is_cluster_scoped = kind in ("Namespace", "Node", "MeshConfig")
    is_name = _NAME.fullmatch(name) and (not slash or _LABEL.fullmatch(namespace))
    if kind in _PATHS and is_name and bool(slash) != is_cluster_scoped:
        return Regarding(kind, namespace, name)
    return Regarding("Node", "", node) if node else None


def event_of(
    finding: ReportedFinding,
    about: Regarding,
    uid: str,
    *,
    reporting_instance: str,
    now_rfc3339_micro: str,
) -> dict[str, Any]:
    """Return the Event that says the finding; ``uid`` is that of the object."""
    reference = {
        "apiVersion": _PATHS[about.kind][0],
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
            "name": _name(finding, about, uid),
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


def _name(finding: ReportedFinding, about: Regarding, uid: str) -> str:
    parts = (uid, finding.code, finding.subject, finding.field, finding.message)
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_HASH_CHARACTERS]
    head = about.name[: _MAX_NAME_CHARACTERS - _HASH_CHARACTERS - 1].rstrip(".-")
    return f"{head}.{digest}"


def _reasons() -> dict[str, str]:
    return {
        value.id: "".join(part.capitalize() for part in name.split("_"))
        for name, value in vars(codes).items()
        if isinstance(value, codes.Code)
    }


_REASONS = _reasons()
