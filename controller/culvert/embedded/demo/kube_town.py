"""The demonstration on a real API server, with the mesh installed by its charts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.control_plane.binaries import KUBERNETES_VERSION
from culvert.embedded.demo.cast import CALLS_ANNOTATION, calls, find_cast, owns_pods
from culvert.embedded.demo.client_logs import read_clients
from culvert.embedded.demo.readings import NodeReading, Reading
from culvert.embedded.demo.scenario import ADDED_REPLICAS, Action
from culvert.embedded.demo.town import acceleration_text, read_node
from culvert.embedded.demo.working_copy import WorkingCopy
from culvert.embedded.helm import CHARTS, SYSTEM_NAMESPACE, helm, rig_values
from culvert.embedded.kube_cluster import DEFAULT_NODES, NODE_ADDRESSES, KubeCluster, kube_cluster
from culvert.embedded.node_view import NodeView, NotReadyError
from culvert.rig import Rig

_READY_SECONDS = 60
_POLL_SECONDS = 0.3
_PARTS = ("deployment/culvert-controller", "daemonset/culvert-agent", "daemonset/culvert-proxy")
_BAD_ANNOTATION = "culvert.dev/request-timeout"


class KubectlError(Exception):
    """kubectl failed; holds what it said."""


class KubeTown:
    """A folder of manifests, applied to an API server whose nodes are those of a rig."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self._rig = rig
        self._directory = rig.directory / "manifests"
        self._directory.mkdir()
        self._manifests = WorkingCopy(folder, self._directory)
        self.cast = find_cast(self._manifests.documents)
        self._plane = ControlPlane(rig.directory / "control-plane", names=NODE_ADDRESSES)
        self._cluster: KubeCluster | None = None
        self._up = asyncio.Event()
        self._views: list[NodeView] = []

    async def run(self) -> None:
        """Run etcd, the API server, the controllers and the nodes until cancelled."""
        await asyncio.to_thread(self._plane.__enter__)
        try:
            async with kube_cluster(self._rig, self._plane, labels=self._labels()) as cluster:
                self._cluster = cluster
                self._up.set()
                await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(self._plane.stop)

    def close(self) -> None:
        """End the control plane; a second call does nothing."""
        self._plane.stop()

    async def bring_up_mesh(self, said: Callable[[str], None]) -> None:
        """The charts, and an agent and an Envoy on each node.

        Raises:
            HelmError: a chart was not installed.
            KubectlError: an agent or Envoy did not come up.
        """
        await self._up.wait()
        said(f"etcd, kube-apiserver and kube-controller-manager {KUBERNETES_VERSION} run")
        await self._install("culvert-crds", "--create-namespace")
        await self._install("culvert", *rig_values(self._rig), "--set=identity.enabled=true")
        said("helm install culvert-crds, culvert --set identity.enabled=true")
        for part in _PARTS:
            await self._rolled_out(part, SYSTEM_NAMESPACE)
        cluster = self._cluster
        assert cluster is not None
        self._views = [cluster.installed(name) for name in self._rig.nodes]
        status = None
        for view in self._views:
            status = await asyncio.to_thread(view.wait_ready)
            passed = sum(case.passed for case in status.self_test)
            said(
                f"{view.name}: pods of the chart run, self-test {passed} of "
                f"{len(status.self_test)} cases passed; Envoy synced"
            )
        if status is not None:
            said(acceleration_text(status.acceleration, status.acceleration_reason))

    async def bring_up_pods(self, said: Callable[[str], None]) -> None:
        """Servers first, then the clients."""
        await self._apply(lambda document: not owns_pods(document))
        await self._apply(lambda document: not calls(document))
        await self._pods_ready()
        said(f"{len(self._own_pods())} server pods ready")
        await self._apply(lambda document: True)
        await self._pods_ready()
        said(
            f"{sum(CALLS_ANNOTATION in one.template.annotations for one in self._own_pods())}"
            " client pods send"
        )

    async def act(self, action: Action) -> None:
        """Make one change through the API, and wait until it is in effect."""
        deployment, service = self.cast.deployment, self.cast.service
        if action is Action.SCALE and deployment is not None:
            replicas = self.cast.replicas + ADDED_REPLICAS
            scale = ("scale", f"deployment/{deployment.name}", f"--replicas={replicas}")
            await self._kubectl("--namespace", deployment.namespace, *scale)
            await self._rolled_out(f"deployment/{deployment.name}", deployment.namespace)
        elif action is Action.DELETE_POD and deployment is not None:
            pods = [one for one in self._own_pods() if one.name.startswith(f"{deployment.name}-")]
            if pods:
                gone = ("delete", "pod", pods[0].name)
                await self._kubectl("--namespace", deployment.namespace, *gone)
                await self._rolled_out(f"deployment/{deployment.name}", deployment.namespace)
        elif action in (Action.BREAK_MANIFEST, Action.REPAIR_MANIFEST) and service is not None:
            wanted = f"{_BAD_ANNOTATION}=soon" if action is Action.BREAK_MANIFEST else None
            annotate = ("annotate", "service", service.name, wanted or f"{_BAD_ANNOTATION}-")
            await self._kubectl("--namespace", service.namespace, *annotate)
        elif action is Action.EDIT_SERVICE and service is not None:
            patch = json.dumps({"spec": {"sessionAffinity": "ClientIP"}})
            change = ("patch", "service", service.name, "--patch", patch)
            await self._kubectl("--namespace", service.namespace, *change)
        elif action is Action.KILL_AGENT:
            await asyncio.to_thread(self._kill_agent)
            await self._rolled_out("daemonset/culvert-agent", SYSTEM_NAMESPACE)
        await self.wait_ready()

    async def wait_ready(self) -> None:
        """Wait until every node has taken the newest world.

        Raises:
            NotReadyError: one did not.
        """
        for view in self._views:
            await asyncio.to_thread(view.wait_ready)

    async def read(self, at_seconds: float, last: Reading | None) -> Reading:
        """Measure, the clients before what they must have crossed."""
        cluster = self._cluster
        assert cluster is not None
        clients = await asyncio.to_thread(
            read_clients, self._own_pods(), cluster.nodes.log_directory, self.cast.protocols
        )
        before = {node.name: node for node in last.nodes} if last else {}
        nodes, findings = [], set[str]()
        for view in self._views:
            last_of_node = before.get(view.name, NodeReading(view.name))
            reading, found = await asyncio.to_thread(read_node, view, last_of_node)
            nodes.append(reading)
            findings |= found
        return Reading(at_seconds, tuple(clients), tuple(nodes), tuple(sorted(findings)))

    def _labels(self) -> Mapping[str, Mapping[str, str]]:
        """Of each node that the manifests define."""
        nodes = {
            document["metadata"]["name"]: dict(document["metadata"].get("labels") or {})
            for document in self._manifests.documents
            if document.get("kind") == "Node"
        } or {name: dict(labels) for name, labels in DEFAULT_NODES.items()}
        return {name: {**labels, "kubernetes.io/os": "linux"} for name, labels in nodes.items()}

    def _own_pods(self) -> list[Any]:
        assert self._cluster is not None
        return [
            pod
            for pod in self._cluster.nodes.pods
            if pod.namespace != SYSTEM_NAMESPACE and not pod.terminating
        ]

    def _kill_agent(self) -> None:
        node = next(iter(self._rig.nodes.values()))
        for pod in list(node.pods.values()):
            if pod.name.startswith("culvert-agent-"):
                (pod.cgroup / "agent" / "cgroup.kill").write_text("1")

    async def _apply(self, wanted: Callable[[Mapping[str, Any]], bool]) -> None:
        # The rig registers its nodes by itself.
        self._manifests.publish(lambda one: one.get("kind") != "Node" and wanted(one))
        await self._kubectl("apply", "-f", str(self._directory))

    async def _pods_ready(self) -> None:
        """Raises ``NotReadyError``."""
        waiting = ""
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while True:
                    waiting = await self._waiting_for()
                    if not waiting:
                        return
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise NotReadyError(f"not ready within {_READY_SECONDS} s: {waiting}") from None

    async def _waiting_for(self) -> str:
        """Pods that are not ready; empty where all are."""
        seen = {(pod.namespace, pod.name): pod.ready for pod in self._own_pods()}
        listed = json.loads(await self._kubectl("get", "pods", "-A", "-o", "json"))["items"]
        wanted = [(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in listed]
        own = [pod for pod in wanted if pod[0] != SYSTEM_NAMESPACE]
        if not own:
            return "no pod was made; `kubectl get events -A` says why"
        return ", ".join(f"pod {'/'.join(pod)}" for pod in own if not seen.get(pod))

    async def _install(self, chart: str, *options: str) -> None:
        path = str(CHARTS / chart)
        await asyncio.to_thread(helm, self._plane, "install", chart, path, *options)

    async def _rolled_out(self, name: str, namespace: str) -> None:
        limit = f"--timeout={2 * _READY_SECONDS}s"
        await self._kubectl("--namespace", namespace, "rollout", "status", name, limit)

    async def _kubectl(self, *arguments: str) -> str:
        done = await asyncio.to_thread(self._plane.kubectl, *arguments)
        if done.returncode != 0:
            raise KubectlError(f"kubectl {arguments[0]}: {done.stderr.strip()}")
        return str(done.stdout)
