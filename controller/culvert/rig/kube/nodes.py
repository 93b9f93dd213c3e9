"""Runs on a rig's nodes what an API server binds to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from culvert.kube.client import KubeClient
from culvert.kube.timestamps import now_rfc3339
from culvert.model.key import ObjectKey
from culvert.rig.container import ContainerRunner
from culvert.rig.kube.containers import Containers
from culvert.rig.kube.images import DEFAULT_IMAGES, Image
from culvert.rig.kube.kubelet_api import KubeletIdentity, kubelet_api
from culvert.rig.kube.mirror import Mirror
from culvert.rig.kube.pod_object import PodObject, deleting, ended, node_of, pod_want, uid_of
from culvert.rig.kube.pod_report import Condition, pod_report, refusal
from culvert.rig.kube.pod_writer import PodWriter
from culvert.rig.kube.registration import keep_registered
from culvert.rig.kube.scheduling import assignments
from culvert.rig.kube.service_rules import keep_rules
from culvert.rig.kubelet import Kubelet, KubeletSettings
from culvert.rig.pod_status import PodStatus
from culvert.rig.rig import Rig
from culvert.rig.surroundings import NotStartableError


class KubeNodes:
    """The nodes of a rig as nodes of a cluster.

    ``labels`` are those of each node, by name: all of these take part; other nodes of the rig are
    left alone. ``client`` must be a cluster administrator's; ``bpffs`` gives each node's directory
    of its own in bpffs, which is for the caller to remove. Without ``identity`` the nodes serve
    neither exec nor logs.
    """

    def __init__(
        self,
        rig: Rig,
        client: KubeClient,
        labels: Mapping[str, Mapping[str, str]],
        *,
        images: Mapping[str, Image] = DEFAULT_IMAGES,
        settings: KubeletSettings | None = None,
        log_directory: Path | None = None,
        bpffs: Callable[[str], Path],
        identity: KubeletIdentity | None = None,
    ) -> None:
        self._rig = rig
        self._client = client
        self._labels = labels
        self._images = images
        self._identity = identity
        self._due = asyncio.Event()
        self._rules_due = asyncio.Event()
        self.mirror = Mirror(client, self._changed)
        """What the API server holds."""
        self._writer = PodWriter(client)
        self._said: dict[str, Sequence[Condition]] = {}
        self.log_directory = rig.directory / "logs" if log_directory is None else log_directory
        """``<namespace>_<pod>/<container>.log``"""
        self._containers = Containers(rig, client, self.mirror, images, bpffs)
        self._kubelet = Kubelet(
            settings=replace(
                settings or KubeletSettings(),
                terminating_notice_seconds=0,
                surroundings=self._containers.surroundings,
            ),
            log_directory=self.log_directory,
            changed=self._due.set,
            links=self._containers.links,
        )

    @property
    def pods(self) -> list[PodStatus]:
        """The status of each pod there is, those that terminate included."""
        return self._kubelet.pods

    def _uids(self) -> set[str]:
        return {pod.uid for pod in self._kubelet.pods}

    def _changed(self) -> None:
        self._due.set()
        self._rules_due.set()

    def host_path(self, node: str, path: str) -> Path:
        """Where a hostPath of a node is on this machine."""
        return self._containers.host_paths(node).real(path)

    async def run(self) -> None:
        """Run until cancelled; pods are then killed, and their objects stay.

        Raises:
            OSError: ``nft`` is not there or failed.
        """
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            for name, labels in self._labels.items():
                node, port = self._rig.nodes[name], 0
                if self._identity is not None:
                    find = partial(self._container, name)
                    port = await stack.enter_async_context(kubelet_api(self._identity, find))
                tasks.create_task(keep_registered(self._client, node, labels, kubelet_port=port))
            tasks.create_task(self.mirror.run())
            nodes = [self._rig.nodes[name] for name in self._labels]
            tasks.create_task(keep_rules(self.mirror, nodes, self._rules_due))
            tasks.create_task(self._writer.run())
            tasks.create_task(self._containers.keep_fresh(self._uids))
            async with self._kubelet:
                while True:
                    await self._due.wait()
                    self._due.clear()
                    if self.mirror.synced:
                        self._pass()

    def _container(self, node: str, key: tuple[str, str], container: str) -> ContainerRunner | None:
        """What runs a container, if it is of a pod of this node."""
        pod = self.mirror.pods.get(ObjectKey(*key))
        if pod is None or node_of(pod) != node:
            return None
        return self._kubelet.container(key, container)

    def _pass(self) -> None:
        """Bring what runs, and what is said of it, in line with what the API server has."""
        objects = {uid_of(pod): pod for pod in self.mirror.pods.values()}
        nodes = [n for n in self.mirror.nodes.values() if n["metadata"]["name"] in self._labels]
        for pod, node in assignments(objects.values(), nodes, self._writer.bindings):
            self._writer.bind(pod, node)
        running = {status.uid: status for status in self._kubelet.pods}
        for uid, status in running.items():
            self._attend(status, objects.get(uid))
        taken = {status.key for status in running.values()}
        for uid, pod in objects.items():
            if uid not in running and node_of(pod) in self._labels:
                self._admit(pod, name_is_taken=_key(pod) in taken)
        for uid in self._said.keys() - objects.keys():
            del self._said[uid]
            self._writer.forget(uid)

    def _attend(self, status: PodStatus, pod: PodObject | None) -> None:
        """Look after a pod that runs."""
        if pod is None:
            # Its object was removed by force: nobody waits for it.
            self._kubelet.stop(status.key, grace_seconds=0)
            return
        if deleting(pod):
            grace_seconds = pod["metadata"].get("deletionGracePeriodSeconds")
            self._kubelet.stop(status.key, grace_seconds=grace_seconds)
        said = self._said.get(status.uid) or (pod.get("status") or {}).get("conditions") or []
        report = pod_report(status, pod, said=said, now=now_rfc3339())
        self._said[status.uid] = report["conditions"]
        self._writer.report(pod, report)

    def _admit(self, pod: PodObject, *, name_is_taken: bool) -> None:
        """Start a pod that does not run, or let go of one that need not any more."""
        if deleting(pod):
            self._writer.remove(pod)
            return
        if ended(pod) or name_is_taken:
            return
        node = self._rig.nodes[node_of(pod)]
        try:
            want = pod_want(pod, self._images)
        except NotStartableError as error:
            hosts = (node.addresses.ipv4, node.addresses.ipv6)
            self._said.setdefault(uid_of(pod), ())
            self._writer.report(
                pod, refusal(pod, reason=error.reason, message=error.message, host_ips=hosts)
            )
            return
        self._kubelet.start(want, node)


def _key(pod: PodObject) -> tuple[str, str]:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]
