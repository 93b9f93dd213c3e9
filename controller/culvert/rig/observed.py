"""The cluster as others see it: objects with status, one file each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from culvert.rig.cluster_ips import ClusterIps
from culvert.rig.endpoint_slices import derive_slices
from culvert.rig.pod_status import ContainerPhase, ContainerStatus, PodStatus
from culvert.rig.service import Service, family_of
from culvert.rig.wanted import HOSTNAME_LABEL, NodeWant, ObjectKey, Wanted

Objects = Mapping[ObjectKey, Mapping[str, Any]]


def observed_objects(
    wanted: Wanted,
    nodes: Mapping[str, tuple[NodeWant, tuple[str, ...], tuple[str, ...]]],
    pods: Iterable[PodStatus],
    cluster_ips: ClusterIps,
) -> Objects:
    """Return every object of the cluster with its status.

    ``nodes`` holds, by name, the node, its addresses and its pod CIDRs. Kinds that nothing here
    acts on are passed on as they were written; Deployments are not, for nobody downstream needs
    them. A namespace that is used but not defined is there, without labels.
    """
    present = list(pods)
    documents: list[dict[str, Any]] = []
    for name, (node, addresses, cidrs) in nodes.items():
        documents.append(_node(name, node, addresses, cidrs))
    documents.extend(_pod(pod) for pod in present)
    for service in wanted.services:
        documents.append(_service(service, cluster_ips.get(service.key, ())))
        documents.extend(derive_slices(service, present))
    objects: dict[ObjectKey, Mapping[str, Any]] = {_key(d): d for d in documents}
    for key, decoded in wanted.objects.items():
        if isinstance(decoded, Mapping):
            objects[key] = _with_namespace(decoded, key.namespace)
    for namespace in sorted({key.namespace for key in objects if key.namespace}):
        key = ObjectKey("Namespace", "", namespace)
        objects.setdefault(
            key, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        )
    return objects


class ObservedFolder:
    """A folder with one JSON file for each object, kept equal to what it was last given.

    Each file is replaced as a whole by a rename, and only when it changes. Files are written in
    the order of the objects and removed afterwards, so a reader never sees a reference to an
    object that is not there yet. What is in the folder at the start is removed with the first
    write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._have: dict[str, bytes] = {}
        path.mkdir(parents=True, exist_ok=True)
        self._strangers = {file.name for file in path.glob("*.json")}

    def write(self, objects: Objects) -> int:
        """Make the folder equal to ``objects``; return how many files changed."""
        want = {
            _file_name(key): json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"
            for key, document in objects.items()
        }
        changed = 0
        for name, content in want.items():
            if self._have.get(name) != content:
                partial = self._path / f".{name}.partial"
                partial.write_bytes(content)
                partial.rename(self._path / name)
                changed += 1
        for name in (self._have.keys() | self._strangers) - want.keys():
            with suppress(FileNotFoundError):
                (self._path / name).unlink()
            changed += 1
        self._have = want
        self._strangers = set()
        return changed


def _file_name(key: ObjectKey) -> str:
    return ".".join(filter(None, (key.kind.lower(), key.namespace, key.name, "json")))


def _key(document: Mapping[str, Any]) -> ObjectKey:
    metadata = document["metadata"]
    return ObjectKey(document["kind"], metadata.get("namespace", ""), metadata["name"])


def _with_namespace(document: Mapping[str, Any], namespace: str) -> Mapping[str, Any]:
    if not namespace:
        return document
    return {**document, "metadata": {**document["metadata"], "namespace": namespace}}


def _node(
    name: str, node: NodeWant, addresses: tuple[str, ...], cidrs: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {HOSTNAME_LABEL: name, **node.labels}},
        "spec": {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)},
        "status": {
            "addresses": [{"type": "InternalIP", "address": a} for a in addresses]
            + [{"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def _service(service: Service, addresses: tuple[str, ...]) -> dict[str, Any]:
    document = dict(_with_namespace(service.document, service.namespace))
    spec = dict(document.get("spec") or {})
    if not service.external_name:
        shown = ("None",) if service.headless else addresses
        if shown:
            spec |= {"clusterIP": shown[0], "clusterIPs": list(shown)}
        else:
            spec.pop("clusterIP", None)
            spec.pop("clusterIPs", None)
        spec["ipFamilies"] = [family_of(a) for a in addresses] or list(service.families)
    return {**document, "spec": spec}


def _pod(pod: PodStatus) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "namespace": pod.namespace,
        "name": pod.name,
        "uid": pod.uid,
        "creationTimestamp": pod.created,
        "labels": dict(pod.template.labels),
        "annotations": dict(pod.template.annotations),
    }
    if pod.owner:
        metadata["ownerReferences"] = [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": pod.owner, "controller": True}
        ]
    if pod.terminating:
        metadata["deletionTimestamp"] = pod.terminating_since
        metadata["deletionGracePeriodSeconds"] = pod.template.grace_seconds
    status: dict[str, Any] = {
        "phase": pod.phase,
        "hostIP": pod.host_ips[0],
        "hostIPs": [{"ip": ip} for ip in pod.host_ips],
        "startTime": pod.created,
        "conditions": _conditions(pod),
        "containerStatuses": [_container_status(c) for c in pod.containers],
    }
    if pod.ips:
        status |= {"podIP": pod.ips[0], "podIPs": [{"ip": ip} for ip in pod.ips]}
    if pod.problem:
        status |= {"message": pod.problem}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            **pod.template.spec,
            "nodeName": pod.node_name,
            "serviceAccountName": pod.template.service_account,
        },
        "status": status,
    }


def _conditions(pod: PodStatus) -> list[dict[str, str]]:
    ready = "True" if pod.ready else "False"
    return [
        {"type": "PodScheduled", "status": "True"},
        {"type": "Initialized", "status": "True" if pod.ips else "False"},
        {"type": "ContainersReady", "status": ready},
        {"type": "Ready", "status": ready},
    ]


def _container_status(status: ContainerStatus) -> dict[str, Any]:
    state: dict[str, Any]
    match status.phase:
        case ContainerPhase.RUNNING:
            state = {"running": {}}
        case ContainerPhase.TERMINATED:
            state = {"terminated": {"exitCode": status.exit_code, "reason": status.reason}}
        case ContainerPhase.WAITING:
            state = {"waiting": {"reason": status.reason}}
    return {
        "name": status.name,
        "ready": status.ready,
        "restartCount": status.restarts,
        "started": status.phase is ContainerPhase.RUNNING,
        "state": state,
    }
