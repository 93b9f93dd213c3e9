"""What the manifests ask for, as values; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from culvert.model.finding import Finding, Severity
from culvert.rig.codes import INVALID_OBJECT, REPEATED_OBJECT, UNSUPPORTED_FIELD
from culvert.rig.field import Field, InvalidFieldError
from culvert.rig.podspec import PodTemplate, decode_template
from culvert.rig.service import Service, decode_service

_CLUSTER_SCOPED = frozenset({"Namespace", "Node"})
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
ZONE_LABEL = "topology.kubernetes.io/zone"
HOSTNAME_LABEL = "kubernetes.io/hostname"


class SourcedDocument(NamedTuple):
    """A document and where it stands."""

    place: str
    """``<file>#<number of the document, from 1>``"""
    document: dict[str, Any]


class ObjectKey(NamedTuple):
    """Names an object; ``namespace`` is empty for cluster-scoped kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.namespace}/{self.name}"
            if self.namespace
            else self[0] + " " + self[2]
        )


@dataclass(frozen=True, slots=True)
class Deployment:
    """So many pods of one template."""

    namespace: str
    name: str
    replicas: int
    recreate: bool
    """Stop the pods of the former template before starting those of the new one."""
    template: PodTemplate


@dataclass(frozen=True, slots=True)
class BarePod:
    """A pod that stands for itself."""

    namespace: str
    name: str
    template: PodTemplate


@dataclass(frozen=True, slots=True)
class NodeWant:
    """A node."""

    name: str
    labels: Mapping[str, str]

    @property
    def zone(self) -> str:
        """Its zone; empty when it has none."""
        return self.labels.get(ZONE_LABEL, "")


Decoded = Deployment | BarePod | NodeWant | Service | Mapping[str, Any]
"""A document is kept as it is when nothing here acts on its kind."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """All objects by key, and what was wrong on the way."""

    objects: Mapping[ObjectKey, Decoded] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def services(self) -> list[Service]:
        """Its Services."""
        return [o for o in self.objects.values() if isinstance(o, Service)]

    @property
    def deployments(self) -> list[Deployment]:
        """Its Deployments."""
        return [o for o in self.objects.values() if isinstance(o, Deployment)]

    @property
    def pods(self) -> list[BarePod]:
        """Its bare Pods."""
        return [o for o in self.objects.values() if isinstance(o, BarePod)]

    @property
    def nodes(self) -> list[NodeWant]:
        """Its Nodes."""
        return [o for o in self.objects.values() if isinstance(o, NodeWant)]


def decode(documents: Iterable[SourcedDocument], before: Wanted | None = None) -> Wanted:
    """Decode all documents; one that is not valid counts as ``before`` has it, if it does."""
    objects: dict[ObjectKey, Decoded] = {}
    places: dict[ObjectKey, str] = {}
    findings: list[Finding] = []
    for place, document in documents:
        try:
            key = _key(Field(document))
        except InvalidFieldError as error:
            findings.append(_invalid(place, error))
            continue
        if key in places:
            findings.append(
                Finding(
                    REPEATED_OBJECT.id,
                    str(key),
                    "",
                    f"{place} defines it again after {places[key]}",
                    "remove one of them",
                )
            )
            continue
        places[key] = place

        def ignored(unused: Field, subject: str = str(key)) -> None:
            findings.append(
                Finding(
                    UNSUPPORTED_FIELD.id,
                    subject,
                    unused.path,
                    "has no effect in the demo",
                    "remove it, or run in a cluster",
                    Severity.WARNING,
                )
            )

        try:
            objects[key] = _decode_one(key, document, ignored)
        except InvalidFieldError as error:
            findings.append(_invalid(str(key), error))
            if before is not None and key in before.objects:
                objects[key] = before.objects[key]
    return Wanted(objects, tuple(findings))


def _key(document: Field) -> ObjectKey:
    kind = document.get("kind").text()
    document.get("apiVersion").text()
    metadata = document.get("metadata")
    name = metadata.get("name").text()
    namespace = "" if kind in _CLUSTER_SCOPED else metadata.get("namespace").text("default")
    for checked, where in ((name, "name"), (namespace or "default", "namespace")):
        if not _NAME.fullmatch(checked):
            raise metadata.get(where).invalid(
                f"is {checked!r}", "use lower-case letters, digits, '-' and '.'"
            )
    return ObjectKey(kind, namespace, name)


def _decode_one(
    key: ObjectKey, document: Mapping[str, Any], ignored: Callable[[Field], None]
) -> Decoded:
    root = Field(document)
    match key.kind:
        case "Service":
            return decode_service(key.namespace, key.name, document)
        case "Pod":
            template = decode_template(root.get("metadata"), root.get("spec"), ignored)
            return BarePod(key.namespace, key.name, template)
        case "Deployment":
            return _deployment(key, root.get("spec"), ignored)
        case "Node":
            labels = {HOSTNAME_LABEL: key.name, **root.get("metadata").get("labels").text_map()}
            return NodeWant(key.name, labels)
        case _:
            return document


def _deployment(key: ObjectKey, spec: Field, ignored: Callable[[Field], None]) -> Deployment:
    template = spec.get("template")
    decoded = decode_template(template.get("metadata"), template.get("spec"), ignored)
    selector = spec.get("selector").get("matchLabels").text_map()
    if not selector.items() <= decoded.labels.items():
        raise spec.get("selector").invalid(
            "does not match the labels of the template", "use the same labels in both"
        )
    return Deployment(
        namespace=key.namespace,
        name=key.name,
        replicas=spec.get("replicas").number(1, high=1000),
        recreate=spec.get("strategy")
        .get("type")
        .choice("RollingUpdate", "RollingUpdate", "Recreate")
        == "Recreate",
        template=decoded,
    )


def _invalid(subject: str, error: InvalidFieldError) -> Finding:
    return Finding(INVALID_OBJECT.id, subject, error.path, error.problem, error.remedy)
