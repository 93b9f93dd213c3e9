"""The embedded cluster: a folder of manifests in, pods on a rig, a folder of observed objects out.

It plays the parts of the API server's defaulting, the scheduler, the Deployment and EndpointSlice
controllers and the kubelet, as far as a demonstration needs them::

    manifests ─> decode ─> plan ─> kubelet ─> status ─> observed objects
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from culvert.model.finding import Finding
from culvert.rig.cluster_ips import ClusterIps, assign_cluster_ips
from culvert.rig.codes import NO_NODE
from culvert.rig.environment import service_links
from culvert.rig.kube_proxy import apply_rules, rules_of, ruleset
from culvert.rig.kubelet import Kubelet, KubeletSettings
from culvert.rig.manifest_folder import ManifestFolder
from culvert.rig.observed import Objects, ObservedFolder, observed_objects
from culvert.rig.pod_status import PodStatus
from culvert.rig.rig import Rig
from culvert.rig.rollout import PodKey, PodWant, choose_node, plan, wanted_pods
from culvert.rig.wanted import ZONE_LABEL, NodeWant, Wanted, decode

DEFAULT_NODES = (
    NodeWant("node-a", {ZONE_LABEL: "zone-a"}),
    NodeWant("node-b", {ZONE_LABEL: "zone-b"}),
)
"""The nodes of a folder that defines none."""


class Cluster:
    """Keeps a rig equal to a folder of manifests.

    ``manifests``, a folder or a file, is read and watched; ``observed`` is written, one JSON file
    for each object, and belongs to the cluster alone. With ``kube_proxy`` each node also
    translates cluster IPs by itself: what a connection that bypasses the mesh meets.
    ``on_findings`` is called with all findings whenever they change.
    """

    def __init__(
        self,
        rig: Rig,
        manifests: Path,
        observed: Path,
        *,
        log_directory: Path | None = None,
        default_nodes: Sequence[NodeWant] = DEFAULT_NODES,
        settings: KubeletSettings | None = None,
        kube_proxy: bool = False,
        on_findings: Callable[[tuple[Finding, ...]], None] = lambda findings: None,
    ) -> None:
        self._rig = rig
        self._folder = ManifestFolder(manifests)
        self._observed = ObservedFolder(observed)
        self._default_nodes = default_nodes
        self._on_findings = on_findings
        self._kube_proxy = kube_proxy
        self._rules = ""
        self._ruled: set[str] = set()
        self._wanted = Wanted()
        self._read_findings: tuple[Finding, ...] = ()
        self._cluster_ips: ClusterIps = {}
        self._nodes: dict[str, NodeWant] = {}
        self._deleted: frozenset[PodKey] = frozenset()
        self._findings: tuple[Finding, ...] = ()
        self._due = asyncio.Event()
        self._settled = asyncio.Condition()
        self._passes = 0
        self._published_settled = False
        self._ended = False
        self._reading = threading.Lock()
        self.log_directory = rig.directory / "logs" if log_directory is None else log_directory
        """``<namespace>_<pod>/<container>.log``"""
        self._kubelet = Kubelet(
            settings=settings or KubeletSettings(),
            log_directory=self.log_directory,
            changed=self._due.set,
            links=lambda namespace: service_links(
                namespace, self._wanted.services, self._cluster_ips
            ),
        )

    @property
    def pods(self) -> list[PodStatus]:
        """The status of each pod, those that terminate included."""
        return self._kubelet.pods

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that is wrong at the moment."""
        return self._findings

    @property
    def cluster_ips(self) -> ClusterIps:
        """The addresses of each Service, by namespace and name."""
        return self._cluster_ips

    def delete_pod(self, namespace: str, name: str) -> None:
        """Stop a pod; a Deployment replaces it by one of another name, a bare Pod comes back."""
        key = (namespace, name)
        self._deleted |= {key}
        self._kubelet.stop(key)
        self._due.set()

    async def run(self) -> None:
        """Run until cancelled; pods are then killed, and the rig is left to its owner.

        Raises:
            OSError: a node could not be made, or ``nft`` is not there or failed.
        """
        try:
            await asyncio.to_thread(self._read)
            async with self._kubelet, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch())
                self._due.set()
                while True:
                    await self._due.wait()
                    self._due.clear()
                    await self._pass()
        finally:
            self._ended = True
            async with self._settled:
                self._settled.notify_all()

    async def wait_settled(self) -> None:
        """Wait until every pod that shall run is ready, and every other is gone.

        Needs ``run`` to be running. Counts from the manifests as they are on disk now. Pods that
        end by themselves (``Succeeded``) count as ready.

        Raises:
            RuntimeError: ``run`` has ended.
        """
        await asyncio.to_thread(self._read)
        # A pass may be under way that began with the manifests as they were before.
        first = self._passes + 2
        self._due.set()
        async with self._settled:
            while self._passes < first or not self._published_settled:
                if self._ended:
                    raise RuntimeError("the cluster has ended")
                if self._passes < first:
                    self._due.set()
                await self._settled.wait()

    def _read(self) -> None:
        with self._reading:
            documents, findings = self._folder.read()
            self._wanted = decode(documents, self._wanted)
            self._read_findings = (*findings, *self._wanted.findings)

    async def _watch(self) -> None:
        async for _ in self._folder.changes():
            await asyncio.to_thread(self._read)
            self._due.set()

    async def _pass(self) -> None:
        """Decide once what to do, do it, and publish what there is."""
        wanted = self._wanted
        await self._make_nodes(wanted)
        self._cluster_ips, address_findings = assign_cluster_ips(wanted.services, self._cluster_ips)
        want = wanted_pods(wanted, self._deleted)
        have = [pod.have() for pod in self._kubelet.pods]
        decided = plan(wanted, want, have)
        for key in decided.stop:
            self._kubelet.stop(key)
        homeless: list[Finding] = []
        for pod in decided.start:
            node = choose_node(pod, self._nodes.values(), have)
            if node is None:
                homeless.append(_no_node(pod))
                continue
            self._kubelet.start(pod, self._rig.nodes[node.name])
            have = [status.have() for status in self._kubelet.pods]
        # Pods go on while the rules are written; what they become then is for the next pass.
        is_settled = self._is_settled()
        objects = self._publish(wanted)
        if self._kube_proxy:
            await self._translate(objects)
        self._report((*self._read_findings, *address_findings, *homeless, *self._kubelet.findings))
        async with self._settled:
            self._passes += 1
            self._published_settled = is_settled
            self._settled.notify_all()

    async def _make_nodes(self, wanted: Wanted) -> None:
        for node in wanted.nodes or self._default_nodes:
            if node.name not in self._nodes:
                await asyncio.to_thread(self._rig.add_node, node.name, zone=node.zone)
            self._nodes[node.name] = node

    async def _translate(self, objects: Objects) -> None:
        rules = ruleset(rules_of(objects.values()))
        if rules != self._rules:
            self._rules, self._ruled = rules, set()
        for name in self._nodes.keys() - self._ruled:
            await asyncio.to_thread(apply_rules, self._rig.nodes[name], rules)
            self._ruled.add(name)

    def _publish(self, wanted: Wanted) -> Objects:
        nodes = {}
        for name, node in self._nodes.items():
            addresses = self._rig.nodes[name].addresses
            nodes[name] = (
                node,
                (addresses.ipv4, addresses.ipv6),
                (addresses.pod_cidr4, addresses.pod_cidr6),
            )
        objects = observed_objects(wanted, nodes, self._kubelet.pods, self._cluster_ips)
        self._observed.write(objects)
        return objects

    def _report(self, findings: tuple[Finding, ...]) -> None:
        if findings != self._findings:
            self._findings = findings
            self._on_findings(findings)

    def _is_settled(self) -> bool:
        want = wanted_pods(self._wanted, self._deleted)
        pods = self._kubelet.pods
        return {pod.key for pod in pods} == want.keys() and all(
            pod.template.revision == want[pod.key].template.revision
            and not pod.terminating
            and (pod.ready or pod.phase == "Succeeded")
            for pod in pods
        )


def _no_node(pod: PodWant) -> Finding:
    return Finding(
        NO_NODE.id,
        f"Pod {pod.namespace}/{pod.name}",
        "spec.nodeName" if pod.template.node_name else "spec.nodeSelector",
        "fits no node",
        "name a node there is, or add one",
    )
