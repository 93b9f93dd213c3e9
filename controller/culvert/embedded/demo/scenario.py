"""What the demonstration changes while traffic runs, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any


class Action(Enum):
    """One change."""

    SCALE = auto()
    DELETE_POD = auto()
    BREAK_MANIFEST = auto()
    REPAIR_MANIFEST = auto()
    EDIT_SERVICE = auto()
    KILL_AGENT = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """A change, at this share of the whole duration."""

    share: float
    action: Action
    text: str


SCENARIO = (
    Step(0.10, Action.SCALE, "Deployment web scaled from 2 to 4 replicas"),
    Step(0.30, Action.DELETE_POD, "a pod of web deleted; its Deployment replaces it"),
    Step(0.48, Action.BREAK_MANIFEST, "a broken manifest appears; the rest goes on"),
    Step(0.60, Action.REPAIR_MANIFEST, "the broken manifest is repaired"),
    Step(0.70, Action.EDIT_SERVICE, "Service web edited: sessionAffinity ClientIP"),
    Step(0.82, Action.KILL_AGENT, "agent of node-a killed with SIGKILL, and started again"),
)


def due(elapsed_share: float, done: int) -> Step | None:
    """The next step, if its time has come; ``done`` steps were taken."""
    if done < len(SCENARIO) and elapsed_share >= SCENARIO[done].share:
        return SCENARIO[done]
    return None


def scaled(document: Mapping[str, Any], name: str, replicas: int) -> dict[str, Any]:
    """A manifest with the replicas of one Deployment changed; others come back as they are."""
    changed = dict(document)
    if document.get("kind") == "Deployment" and document["metadata"]["name"] == name:
        changed["spec"] = {**document["spec"], "replicas": replicas}
    return changed


def with_session_affinity(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A manifest with ClientIP affinity for one Service; others come back as they are."""
    changed = dict(document)
    if document.get("kind") == "Service" and document["metadata"]["name"] == name:
        changed["spec"] = {**document["spec"], "sessionAffinity": "ClientIP"}
    return changed


BROKEN_MANIFEST = """\
apiVersion: v1
kind: Service
metadata: {name: typo, namespace: shop}
spec:
  ports: [{name: http, port: eighty}]
"""
REPAIRED_MANIFEST = BROKEN_MANIFEST.replace("eighty", "80")
