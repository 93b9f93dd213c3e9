"""The demonstration's cluster and mesh, and the changes made to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from culvert.embedded.demo.cast import (
    ObjectName,
    asks_for_mesh,
    called_by,
    calls,
    find_cast,
    owns_pods,
    scaled,
    with_session_affinity,
)
from culvert.embedded.demo.client_logs import read_clients
from culvert.embedded.demo.readings import (
    ENVOY_COUNTERS,
    ClientReading,
    NodeReading,
    Reading,
    read_envoy,
    read_kernel,
)
from culvert.embedded.demo.scenario import ADDED_REPLICAS, Action, manifest_with_typo
from culvert.embedded.demo.working_copy import WorkingCopy
from culvert.embedded.mesh import LocalMesh
from culvert.embedded.mesh_node import MeshNode, MeshOptions
from culvert.embedded.node_view import NodeView
from culvert.rig import Pod, Rig
from culvert.rig.cluster import Cluster
from culvert.rig.kubelet import KubeletSettings

_PODS_READY_SECONDS = 45.0
_AGENT_AWAY_SECONDS = 2.0
_POLL_SECONDS = 0.05
_TYPO_FILE = "90-typo.yaml"


class DemoTown:
    """A working copy of a folder of manifests, realised on a rig under a mesh."""

    def __init__(self, rig: Rig, folder: Path, options: MeshOptions) -> None:
        self._rig = rig
        self._joining = asyncio.Lock()
        manifests, observed = rig.directory / "manifests", rig.directory / "observed"
        manifests.mkdir()
        observed.mkdir()
        self._manifests = WorkingCopy(folder, manifests)
        self.cast = find_cast(self._manifests.documents)
        self.mesh = LocalMesh(rig, observed, options)
        self.cluster = Cluster(
            rig,
            manifests,
            observed,
            settings=KubeletSettings(network_ready=self._await_capture),
        )

    async def run(self) -> None:
        """Keep the cluster going, until cancelled."""
        await self.cluster.run()

    def close(self) -> None:
        """End agents and Envoys, and take the data path away."""
        self.mesh.close()

    async def bring_up_mesh(self, said: Callable[[str], None]) -> None:
        """Nodes and Services, then an agent and an Envoy on each node; no pod yet.

        Raises:
            NotReadyError: an agent or Envoy did not come up.
        """
        self._manifests.publish(lambda document: not owns_pods(document))
        await self.cluster.wait_settled()
        nodes = self._rig.nodes
        said(f"{len(nodes)} nodes, as network namespaces on one bridge: {', '.join(nodes)}")
        for node in nodes.values():
            self.mesh.add(node)
        await asyncio.to_thread(self.mesh.start)
        for name, mesh_node in self.mesh.nodes.items():
            status = await asyncio.to_thread(mesh_node.status)
            passed = sum(case.passed for case in status.self_test)
            said(
                f"{name}: BPF compiled and attached, self-test {passed} of "
                f"{len(status.self_test)} cases passed; Envoy synced"
            )
        said(acceleration_text(status.acceleration, status.acceleration_reason))

    async def bring_up_pods(self, said: Callable[[str], None]) -> None:
        """Servers first, then the clients; goes on without a pod that is not ready in time."""
        self._manifests.publish(lambda document: not calls(document))
        if await self._settle():
            said(f"{len(self.cluster.pods)} server pods ready")
        self._manifests.publish_all()
        if await self._settle():
            clients = len(self._client_pods())
            said(f"{clients} client pods send")
        for pod in self.cluster.pods:
            if not pod.ready:
                why = pod.problem or ", ".join(one.reason for one in pod.containers if one.reason)
                said(f"going on without pod {pod.namespace}/{pod.name}: {why or 'not ready'}")

    async def act(self, action: Action) -> None:
        """Make one change, and wait until it is in effect."""
        deployment, service = self.cast.deployment, self.cast.service
        if action is Action.SCALE and deployment is not None:
            replicas = self.cast.replicas + ADDED_REPLICAS
            self._manifests.edit(partial(scaled, name=deployment, replicas=replicas))
        elif action is Action.EDIT_SERVICE and service is not None:
            self._manifests.edit(partial(with_session_affinity, name=service))
        elif action in (Action.BREAK_MANIFEST, Action.REPAIR_MANIFEST):
            namespace = service.namespace if service is not None else "default"
            repaired = action is Action.REPAIR_MANIFEST
            self._manifests.add(_TYPO_FILE, manifest_with_typo(namespace, repaired=repaired))
        elif action is Action.DELETE_POD:
            self._delete_pod()
        elif action is Action.KILL_AGENT:
            node = next(iter(self.mesh.nodes.values()))
            await asyncio.to_thread(node.kill_agent)
            await asyncio.sleep(_AGENT_AWAY_SECONDS)
            await asyncio.to_thread(node.start_agent)
        await self.cluster.wait_settled()
        await self.wait_ready()

    async def wait_ready(self) -> None:
        """Wait until every node has taken the newest world.

        Raises:
            NotReadyError: one did not.
        """
        for node in list(self.mesh.nodes.values()):
            await asyncio.to_thread(node.wait_ready)

    async def read(self, at_seconds: float, last: Reading | None) -> Reading:
        """Measure, the clients before what they must have crossed."""
        clients = await asyncio.to_thread(self._read_clients)
        before = {node.name: node for node in last.nodes} if last else {}
        nodes: list[NodeReading] = []
        findings = {str(finding) for finding in self.cluster.findings}
        for name, node in list(self.mesh.nodes.items()):
            last_of_node = before.get(name, NodeReading(name))
            reading, found = await asyncio.to_thread(read_node, node, last_of_node)
            nodes.append(reading)
            findings.update(found)
        return Reading(at_seconds, tuple(clients), tuple(nodes), tuple(sorted(findings)))

    def _delete_pod(self) -> None:
        for pod in self.cluster.pods:
            deployment = self.cast.deployment
            if deployment is None or pod.namespace != deployment.namespace or pod.terminating:
                continue
            if pod.owner and pod.name.startswith(f"{deployment.name}-"):
                self.cluster.delete_pod(pod.namespace, pod.name)
                return

    def _client_pods(self) -> list[ObjectName]:
        return [
            ObjectName(pod.namespace, pod.name)
            for pod in self.cluster.pods
            if called_by(pod.template.annotations)
        ]

    def _read_clients(self) -> list[ClientReading]:
        cluster = self.cluster
        return read_clients(cluster.pods, cluster.log_directory, self.cast.protocols)

    async def _mesh_node(self, name: str) -> MeshNode:
        """The agent and Envoy of a node; of one that was added to the manifests, started now."""
        async with self._joining:
            if name not in self.mesh.nodes:
                node = self.mesh.add(self._rig.nodes[name])
                await asyncio.to_thread(node.start_agent)
                await asyncio.to_thread(node.start_envoy)
                await asyncio.to_thread(node.wait_ready)
            return self.mesh.nodes[name]

    async def _settle(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(_PODS_READY_SECONDS):
                await self.cluster.wait_settled()
                return True
        return False

    async def _await_capture(self, pod: Pod) -> None:
        """Hold back the containers of a pod of the mesh until its node's maps have it."""
        labels = next((one.template.labels for one in self.cluster.pods if one.uid == pod.uid), {})
        if not asks_for_mesh(labels, self._manifests.namespace_labels(pod.namespace)):
            return
        node = await self._mesh_node(pod.node_name)
        while True:
            with suppress(OSError):
                status = await asyncio.to_thread(node.status)
                if pod.cgroup_id in status.captured_cgroup_ids:
                    return
            await asyncio.sleep(_POLL_SECONDS)


def read_node(node: NodeView, last: NodeReading) -> tuple[NodeReading, set[str]]:
    """What agent and Envoy count, and the agent's findings; what is silent keeps its last."""
    kernel, findings, agent_answers = last.kernel, set[str](), False
    envoy = last.envoy
    with suppress(OSError):
        status = node.status()
        kernel = read_kernel(status.acceleration, status.verdicts)
        findings = {f"{one.code} {one.subject}: {one.message}" for one in status.findings}
        agent_answers = True
    with suppress(OSError):
        envoy = read_envoy(node.envoy_stats(ENVOY_COUNTERS))
    if not agent_answers:
        # Two counts of the same bytes are compared: they have to be of one time.
        envoy = replace(envoy, moved_bytes=last.envoy.moved_bytes)
    return NodeReading(last.name, envoy, kernel, agent_answers), findings


def acceleration_text(acceleration: str, reason: str) -> str:
    """A sentence on whether this kernel accelerates, and why not."""
    if acceleration == "on":
        return "acceleration is on: every case of the self-test passed on this kernel"
    if acceleration == "on-request":
        return (
            "acceleration is on request, and the demo's pods request it by annotation; "
            f"what this kernel's self-test found: {reason}"
        )
    return f"acceleration is off, all traffic goes by TCP: {reason}"
