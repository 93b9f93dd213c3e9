"""A rig's nodes as the nodes of a real API server, each with an agent and an Envoy of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from culvert.compile.annotations.registry import MESH
from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.control_plane.plane import KUBELET_CLIENT
from culvert.embedded.mesh_node import MeshNode, MeshOptions, pins_of
from culvert.embedded.node_view import NodeView
from culvert.kube.client import KubeClient
from culvert.model.key import ObjectKey
from culvert.rig import Pod, Rig
from culvert.rig.kube.containers import API_PORT
from culvert.rig.kube.kubelet_api import KubeletIdentity
from culvert.rig.kube.nodes import KubeNodes
from culvert.rig.kube.relay import Relay, listening_sockets
from culvert.rig.kubelet import KubeletSettings
from culvert.rig.node import Node

ZONE_LABEL = "topology.kubernetes.io/zone"
DEFAULT_NODES: Mapping[str, Mapping[str, str]] = {
    "node-a": {ZONE_LABEL: "zone-a"},
    "node-b": {ZONE_LABEL: "zone-b"},
}
"""Labels of each node."""
NODE_ADDRESSES = tuple(f"10.99.0.{number}" for number in range(1, 10))
"""Addresses that the nodes of a rig may have: the API server's certificate needs them."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class KubeCluster:
    """What runs. ``mesh`` has the agent and the Envoy of each node; they are started by ``start``
    or one by one."""

    plane: ControlPlane
    client: KubeClient
    rig: Rig
    nodes: KubeNodes
    mesh: Mapping[str, MeshNode]

    async def start_mesh(self) -> None:
        """Start the agents and Envoys, and wait until all are ready.

        Raises:
            NotReadyError: one was not in time.
        """
        for node in self.mesh.values():
            await asyncio.to_thread(node.start_agent)
            await asyncio.to_thread(node.start_envoy)
        for node in self.mesh.values():
            await asyncio.to_thread(node.wait_ready)

    def installed(self, node: str) -> NodeView:
        """The agent and Envoy that run on a node as pods of the chart."""
        return NodeView(
            node,
            self.nodes.host_path(node, "/run/culvert/agent/status.sock"),
            self.nodes.host_path(node, "/run/culvert/proxy/admin.sock"),
            self.nodes.log_directory,
        )

    def pod(self, namespace: str, name: str) -> Pod:
        """A pod that runs.

        Raises:
            KeyError: there is none of that name.
        """
        for node in self.rig.nodes.values():
            for pod in list(node.pods.values()):
                if (pod.namespace, pod.name) == (namespace, name):
                    return pod
        raise KeyError((namespace, name))


@asynccontextmanager
async def kube_cluster(
    rig: Rig,
    plane: ControlPlane,
    *,
    labels: Mapping[str, Mapping[str, str]] = DEFAULT_NODES,
    options: MeshOptions | None = None,
) -> AsyncIterator[KubeCluster]:
    """Add the nodes to the rig and let the API server drive them; without agents and Envoys yet.

    On leaving, pods and processes are killed and the data path is taken away; the objects of the
    API server stay, and the rig is left to its owner.
    """
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(KubeClient.load(plane.kubeconfig))
        mesh = {}
        for name, of_node in labels.items():
            node = await asyncio.to_thread(rig.add_node, name, zone=of_node.get(ZONE_LABEL, ""))
            relay = Relay(listening_sockets(node, API_PORT), ("127.0.0.1", plane.port))
            await stack.enter_async_context(relay)
            mesh[name] = _mesh_node(rig, node, plane, options or MeshOptions())
            stack.push_async_callback(asyncio.to_thread, mesh[name].close)
        capture = _Capture(mesh)
        nodes = KubeNodes(
            rig,
            client,
            labels,
            settings=KubeletSettings(network_ready=capture.completed),
            bpffs=lambda name: pins_of(rig.rig_id, name),
            identity=KubeletIdentity(
                plane.kubelet_certificate, plane.kubelet_key, plane.ca_path, KUBELET_CLIENT
            ),
        )
        capture.nodes = nodes
        running = asyncio.create_task(nodes.run())
        try:
            yield KubeCluster(plane, client, rig, nodes, mesh)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


class _Capture:
    """Holds back the containers of a pod of the mesh until its node's maps have it."""

    nodes: KubeNodes

    def __init__(self, mesh: Mapping[str, MeshNode]) -> None:
        self._mesh = mesh

    async def completed(self, pod: Pod) -> None:
        """Return when the pod's connections are captured, or need not be."""
        node = self._mesh[pod.node_name]
        sockets = [node.status_socket] if node.agent is not None else []
        installed = self.nodes.host_path(pod.node_name, "/run/culvert/agent/status.sock")
        sockets += [installed] if installed.exists() else []
        if not sockets or not self._asks_for_mesh(pod):
            return
        views = [NodeView(node.name, socket, node.admin_socket, node.logs) for socket in sockets]
        while True:
            for view in views:
                with suppress(OSError):
                    status = await asyncio.to_thread(view.status)
                    if pod.cgroup_id in status.captured_cgroup_ids:
                        return
            await asyncio.sleep(_POLL_SECONDS)

    def _asks_for_mesh(self, pod: Pod) -> bool:
        mirror = self.nodes.mirror
        own = mirror.pods.get(ObjectKey(pod.namespace, pod.name)) or {}
        if (own.get("spec") or {}).get("hostNetwork"):
            return False
        for document in (own, mirror.namespaces.get(ObjectKey("", pod.namespace)) or {}):
            asked = ((document.get("metadata") or {}).get("labels") or {}).get(MESH.name)
            if asked in ("enabled", "disabled"):
                return bool(asked == "enabled")
        return False


def _mesh_node(rig: Rig, node: Node, plane: ControlPlane, options: MeshOptions) -> MeshNode:
    kubeconfig = rig.directory / f"{node.name}.kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(
        plane.kubeconfig.read_text().replace(plane.url, f"https://{node.addresses.ipv4}:{API_PORT}")
    )
    return MeshNode(
        node,
        rig_id=rig.rig_id,
        cgroup_root=rig.cgroup.parent,
        directory=Path(rig.directory) / node.name,
        manifests=None,
        kubeconfig=kubeconfig,
        options=options,
    )
