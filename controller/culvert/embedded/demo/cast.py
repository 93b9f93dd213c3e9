"""Who plays which part, found in the manifests: clients, what they call, what is changed; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from culvert.compile.annotations.registry import MESH
from culvert.compile.protocol import port_protocol
from culvert.model.service import ServicePort

CALLS_ANNOTATION = "demo.example/calls"
"""On a client pod: the Service of its namespace that it calls."""

REFUSED_ANNOTATION = "demo.example/is-refused"
"""On a client pod: the Service that it calls, though a policy keeps it from there."""

_POD_OWNERS = ("Pod", "Deployment")


class ObjectName(NamedTuple):
    """Namespace and name."""

    namespace: str
    name: str


class Spoken(NamedTuple):
    """What a Service's first port speaks, as its owner wrote it, and whether that is HTTP."""

    name: str
    is_http: bool


@dataclass(frozen=True, slots=True)
class Cast:
    """What the scenario changes: a Deployment and a Service in front of it, if there are any.

    ``protocols`` has every Service.
    """

    deployment: ObjectName | None
    replicas: int
    service: ObjectName | None
    protocols: Mapping[ObjectName, Spoken]


def find_cast(documents: Iterable[Mapping[str, Any]]) -> Cast:
    """Choose the Service that the first client calls, of those with a Deployment behind them."""
    objects = list(documents)
    services = {name_of(one): one for one in objects if one.get("kind") == "Service"}
    deployments = [one for one in objects if one.get("kind") == "Deployment"]
    protocols = {name: _protocol(service) for name, service in services.items()}
    called = [ObjectName(name_of(one).namespace, calls(one)) for one in objects if calls(one)]
    for service in (*(name for name in called if name in services), *services):
        for deployment in deployments:
            if _stands_before(services[service], deployment):
                replicas = _section(deployment, "spec").get("replicas", 1)
                count = replicas if isinstance(replicas, int) else 1
                return Cast(name_of(deployment), count, service, protocols)
    return Cast(None, 0, None, protocols)


def name_of(document: Mapping[str, Any]) -> ObjectName:
    """The name of an object; the namespace is ``default`` where none is given."""
    metadata = _section(document, "metadata")
    return ObjectName(str(metadata.get("namespace", "default")), str(metadata.get("name", "")))


def calls(document: Mapping[str, Any]) -> str:
    """The Service that a client pod says it calls; empty for anything else."""
    if document.get("kind") != "Pod":
        return ""
    return called_by(_section(document, "metadata", "annotations"))


def called_by(annotations: Mapping[str, Any]) -> str:
    """The Service that a pod with these annotations calls, whether it is let in or not."""
    return str(annotations.get(CALLS_ANNOTATION) or annotations.get(REFUSED_ANNOTATION) or "")


def is_refused(document: Mapping[str, Any]) -> bool:
    """Whether it is a client that policies refuse."""
    return REFUSED_ANNOTATION in _section(document, "metadata", "annotations")


def owns_pods(document: Mapping[str, Any]) -> bool:
    """Whether pods are made from it."""
    return document.get("kind") in _POD_OWNERS


def asks_for_mesh(pod: Mapping[str, str], namespace: Mapping[str, str]) -> bool:
    """Whether labels put a pod into the mesh; the pod's own wins over its namespace's."""
    own = pod.get(MESH.name)
    return (own if own in ("enabled", "disabled") else namespace.get(MESH.name)) == "enabled"


def scaled(document: Mapping[str, Any], name: ObjectName, replicas: int) -> dict[str, Any]:
    """A manifest with the replicas of one Deployment changed; others come back as they are."""
    return _with_spec(document, "Deployment", name, {"replicas": replicas})


def with_session_affinity(document: Mapping[str, Any], name: ObjectName) -> dict[str, Any]:
    """A manifest with ClientIP affinity for one Service; others come back as they are."""
    return _with_spec(document, "Service", name, {"sessionAffinity": "ClientIP"})


def labels_of(document: Mapping[str, Any]) -> Mapping[str, str]:
    """The labels of an object."""
    return _section(document, "metadata", "labels")


def _with_spec(
    document: Mapping[str, Any], kind: str, name: ObjectName, change: Mapping[str, Any]
) -> dict[str, Any]:
    if document.get("kind") != kind or name_of(document) != name:
        return dict(document)
    return {**document, "spec": {**_section(document, "spec"), **change}}


def _protocol(service: Mapping[str, Any]) -> Spoken:
    ports = _section(service, "spec").get("ports")
    first = ports[0] if isinstance(ports, list) and ports and isinstance(ports[0], dict) else {}
    port = ServicePort(
        port_host=0,
        name=str(first.get("name", "")),
        app_protocol=str(first.get("appProtocol", "")),
    )
    protocol = port_protocol(port)
    return Spoken(port.app_protocol or protocol.value, protocol.is_http)


def _stands_before(service: Mapping[str, Any], deployment: Mapping[str, Any]) -> bool:
    selector = _section(service, "spec", "selector")
    labels = _section(deployment, "spec", "template", "metadata", "labels")
    same_namespace = name_of(service).namespace == name_of(deployment).namespace
    return bool(selector) and same_namespace and selector.items() <= labels.items()


def _section(document: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A mapping inside of a document; empty where there is none."""
    section: Any = document
    for step in path:
        section = section.get(step) if isinstance(section, Mapping) else None
    return section if isinstance(section, Mapping) else {}
