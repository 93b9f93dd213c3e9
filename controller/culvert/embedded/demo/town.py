"""The demonstration's cluster and mesh, and the changes made to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from culvert.embedded.demo.readings import (
    ClientReading,
    NodeReading,
    Reading,
    read_client,
    read_node,
)
from culvert.embedded.demo.scenario import (
    BROKEN_MANIFEST,
    REPAIRED_MANIFEST,
    Action,
    scaled,
    with_session_affinity,
)
from culvert.embedded.mesh import LocalMesh
from culvert.embedded.mesh_node import MeshNode, MeshOptions
from culvert.rig import Pod, Rig
from culvert.rig.cluster import Cluster
from culvert.rig.kubelet import KubeletSettings

CALLS_ANNOTATION = "demo.example/calls"
"""On a client pod: the Service it calls, for the view."""

_CAPTURE_SECONDS = 5.0
_POLL_SECONDS = 0.05
_ENVOY_PATTERN = "downstream_(rq|cx)_total"


class DemoTown:
    """A working copy of a folder of manifests, realised on a rig under a mesh."""

    def __init__(self, rig: Rig, folder: Path, options: MeshOptions) -> None:
        self._rig = rig
        self._sources = sorted(path for path in folder.glob("*.y*ml"))
        self._folder = rig.directory / "manifests"
        self._folder.mkdir()
        observed = rig.directory / "observed"
        observed.mkdir()
        self.mesh = LocalMesh(rig, observed, options)
        self.cluster = Cluster(
            rig,
            self._folder,
            observed,
            settings=KubeletSettings(network_ready=self._await_capture),
        )

    async def bring_up(self, said: Callable[[str], None]) -> None:
        """Nodes and Services first, then agents and proxies, then the pods."""
        documents = {path.name: _read(path) for path in self._sources}
        for name, loaded in documents.items():
            self._write(name, [one for one in loaded if not _is_pod_owner(one)])
        await self.cluster.wait_settled()
        nodes = self._rig.nodes
        said(f"{len(nodes)} nodes as network namespaces, joined by a bridge: {', '.join(nodes)}")
        for node in nodes.values():
            self.mesh.add(node)
        await asyncio.to_thread(self.mesh.start)
        for name, mesh_node in self.mesh.nodes.items():
            status = await asyncio.to_thread(mesh_node.status)
            passed = sum(case.passed for case in status.self_test)
            said(
                f"{name}: BPF programs compiled and attached, self-test {passed} of "
                f"{len(status.self_test)} cases; Envoy synced over delta xDS"
            )
        said(_acceleration_text(status.acceleration, status.acceleration_reason))
        for name, loaded in documents.items():
            self._write(name, [one for one in loaded if not _is_client(one)])
        await self.cluster.wait_settled()
        for name, loaded in documents.items():
            self._write(name, loaded)
        await self.cluster.wait_settled()
        said(f"{len(self.cluster.pods)} pods ready; their clients send")

    async def act(self, action: Action) -> None:
        """Make one change."""
        if action is Action.SCALE:
            self._edit(partial(scaled, name="web", replicas=4))
        elif action is Action.EDIT_SERVICE:
            self._edit(partial(with_session_affinity, name="web"))
        elif action is Action.BREAK_MANIFEST:
            (self._folder / "90-typo.yaml").write_text(BROKEN_MANIFEST)
        elif action is Action.REPAIR_MANIFEST:
            (self._folder / "90-typo.yaml").write_text(REPAIRED_MANIFEST)
        elif action is Action.DELETE_POD:
            victim = next(pod for pod in self.cluster.pods if pod.name.startswith("web"))
            self.cluster.delete_pod(victim.namespace, victim.name)
        elif action is Action.KILL_AGENT:
            node = next(iter(self.mesh.nodes.values()))
            await asyncio.to_thread(node.kill_agent)
            await asyncio.to_thread(node.start_agent)

    async def read(self, at_seconds: float, last: Reading | None) -> Reading:
        """Measure. A node whose agent is away for the moment keeps its last reading."""
        before = {node.name: node for node in last.nodes} if last else {}
        nodes: list[NodeReading] = []
        findings = {str(finding) for finding in self.cluster.findings}
        for name, node in self.mesh.nodes.items():
            try:
                reading, found = await asyncio.to_thread(_read_node, node)
            except OSError:
                nodes += [before[name]] if name in before else []
                continue
            nodes.append(reading)
            findings.update(found)
        clients = await asyncio.to_thread(self._read_clients)
        return Reading(at_seconds, tuple(clients), tuple(nodes), tuple(sorted(findings)))

    def _read_clients(self) -> list[ClientReading]:
        clients = []
        for pod in self.cluster.pods:
            service = pod.template.annotations.get(CALLS_ANNOTATION)
            if service is None:
                continue
            logs = self.cluster.log_directory / f"{pod.namespace}_{pod.name}"
            lines: list[str] = []
            for log in sorted(logs.glob("*.log")):
                lines += log.read_text(errors="replace").splitlines()
            clients.append(read_client(pod.name, pod.node_name, service, lines))
        return sorted(clients, key=lambda client: client.pod)

    async def _await_capture(self, pod: Pod) -> None:
        """Hold a pod's containers back until its node's maps have it, within limits."""
        node = self.mesh.nodes.get(pod.node_name)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CAPTURE_SECONDS):
                while node is not None:
                    with suppress(OSError):
                        status = await asyncio.to_thread(node.status)
                        if pod.cgroup_id in status.captured_cgroup_ids:
                            return
                    await asyncio.sleep(_POLL_SECONDS)

    def _edit(self, change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
        for path in self._sources:
            mine = self._folder / path.name
            self._write(path.name, [change(document) for document in _read(mine)])

    def _write(self, name: str, documents: Sequence[Mapping[str, Any]]) -> None:
        text = yaml.safe_dump_all(documents)
        path = self._folder / name
        if path.exists() and path.read_text() == text:
            return
        temporary = self._folder / f".{name}"
        temporary.write_text(text)
        temporary.replace(path)


def _read_node(node: MeshNode) -> tuple[NodeReading, set[str]]:
    status = node.status()
    reading = read_node(
        status.node, status.acceleration, status.verdicts, node.envoy_stats(_ENVOY_PATTERN)
    )
    return reading, {f"{one.code} {one.subject}: {one.message}" for one in status.findings}


def _read(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text()) if isinstance(one, dict)]


def _is_pod_owner(document: Mapping[str, Any]) -> bool:
    return document.get("kind") in ("Pod", "Deployment")


def _is_client(document: Mapping[str, Any]) -> bool:
    annotations = document.get("metadata", {}).get("annotations", {})
    return CALLS_ANNOTATION in (annotations or {})


def _acceleration_text(acceleration: str, reason: str) -> str:
    if acceleration == "on":
        return "acceleration is on: every case of the self-test passed on this kernel"
    if acceleration == "on-request":
        return (
            f"acceleration on request, for this kernel's {reason}; "
            "the demo's pods ask for it by annotation"
        )
    return f"acceleration is off, traffic goes by TCP: {reason}"
