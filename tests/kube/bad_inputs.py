"""Bad inputs and what their authors are shown: the rows of ``bad_inputs.yaml``.

A row has a ``title``, an ``object``, and where it is told that it is wrong:

- ``refused``: in the API server's answer, the object is not stored;
- ``condition``: in a condition of the object's status, as ``Type Reason: message``;
- ``finding``: in a finding, and the Event that comes of it.

``given`` are objects that are there before it. ``{repeat: N, item: X}`` stands for a list of N
items, ``{i}`` in them for the item's number; ``<x*N>`` for a text of N characters x.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("bad_inputs.yaml")
NAMESPACE = "shop"
"""In the file; a test has a namespace of another name."""

_PLURALS = {
    "MeshConfig": "meshconfigs",
    "TrafficPolicy": "trafficpolicies",
    "PeerAuthentication": "peerauthentications",
    "AuthorizationPolicy": "authorizationpolicies",
    "Service": "services",
    "Pod": "pods",
    "Namespace": "namespaces",
}
_CLUSTER_SCOPED = ("MeshConfig", "Namespace")
_LONG_TEXT = re.compile(r"<(?P<character>.)\*(?P<count>[0-9]+)>")


@dataclass(frozen=True, slots=True)
class Row:
    """One bad input: ``where`` is ``refused``, ``condition`` or ``finding``, ``shown`` the text."""

    title: str
    where: str
    shown: str
    body: Mapping[str, Any]
    given: Sequence[Mapping[str, Any]] = ()

    def __str__(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def read_rows() -> list[Row]:
    """All rows, in the file's order."""
    return [_row(loaded) for loaded in yaml.safe_load(FILE.read_text())]


def collection_path(body: Mapping[str, Any], namespace: str) -> str:
    """Where an object of this kind is made."""
    kind, version = body["kind"], body["apiVersion"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    where = "" if kind in _CLUSTER_SCOPED else f"/namespaces/{namespace}"
    return f"{root}{where}/{_PLURALS[kind]}"


def _row(loaded: Mapping[str, Any]) -> Row:
    (where,) = {"refused", "condition", "finding"} & loaded.keys()
    body = _written_out(loaded["object"])
    body.setdefault("apiVersion", "culvert.dev/v1alpha1")
    given = [_written_out(one) for one in loaded.get("given", ())]
    for one in given:
        one.setdefault("apiVersion", "culvert.dev/v1alpha1")
    return Row(loaded["title"], where, " ".join(loaded[where].split()), body, given)


def _written_out(value: Any, number: int = 0) -> Any:
    if isinstance(value, dict) and value.keys() == {"repeat", "item"}:
        return [_written_out(value["item"], each) for each in range(value["repeat"])]
    if isinstance(value, dict):
        return {name: _written_out(inner, number) for name, inner in value.items()}
    if isinstance(value, list):
        return [_written_out(inner, number) for inner in value]
    if isinstance(value, str):
        text = value.replace("{i}", str(number))
        return _LONG_TEXT.sub(lambda found: found["character"] * int(found["count"]), text)
    return value
