"""Files, variables and privileges of containers whose images have stand-ins.

A container of any other image sees this machine's files and runs as root: it is a program of a
test, not one that is tested.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

import culvert
from culvert.kube.client import KubeClient
from culvert.model.key import ObjectKey
from culvert.rig.kube.container_root import Mount
from culvert.rig.kube.container_surroundings import ContainerSurroundings, PodSetting
from culvert.rig.kube.host_paths import HostPaths
from culvert.rig.kube.hosts_file import hosts_text, rewrite
from culvert.rig.kube.images import Image, find_image
from culvert.rig.kube.mirror import Mirror
from culvert.rig.kube.pod_volumes import PodVolumes
from culvert.rig.kube.references import References
from culvert.rig.kube.tokens import Tokens
from culvert.rig.kube.variables import link_variables
from culvert.rig.kubelet import base_environment
from culvert.rig.pod import Pod
from culvert.rig.pod_status import PodStatus
from culvert.rig.podspec import Container
from culvert.rig.rig import Rig
from culvert.rig.surroundings import NotStartableError

API_PORT = 6443
"""Of the API server, as seen on each node's address."""
_REFRESH_SECONDS = 2.0
_CHECKOUT = Path(culvert.__file__).resolve().parents[2]


class Containers:
    """Of all pods of a rig. ``bpffs`` gives each node's directory of its own in bpffs."""

    def __init__(
        self,
        rig: Rig,
        client: KubeClient,
        mirror: Mirror,
        images: Mapping[str, Image],
        bpffs: Callable[[str], Path],
    ) -> None:
        self._rig = rig
        self._mirror = mirror
        self._images = images
        self._bpffs = bpffs
        self._tokens = Tokens(client)
        self._pods: dict[str, PodSetting] = {}

    def surroundings(
        self, pod: Pod, container: Container, status: Callable[[], PodStatus]
    ) -> ContainerSurroundings | None:
        """Return those of one container; None for one that sees this machine as it is."""
        if not self._has_stand_in(status(), container.name):
            return None
        setting = self._pods.get(pod.uid)
        if setting is None:
            setting = self._pods[pod.uid] = self._setting(pod, status)
        return ContainerSurroundings(container, setting)

    async def keep_fresh(self, running: Callable[[], Collection[str]]) -> None:
        """Renew what changes below running containers, and remove what the gone ones left.

        ``running`` gives the uids of the pods there are. Runs until cancelled.
        """
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            there = running()
            for uid, setting in list(self._pods.items()):
                if uid not in there:
                    del self._pods[uid]
                    self._tokens.forget(uid)
                    await asyncio.to_thread(setting.volumes.remove)
                    continue
                status = setting.status()
                rewrite(setting.hosts_file, self._hosts(status))
                # What is missing now may be there the next time; the container runs on.
                with suppress(NotStartableError):
                    await setting.volumes.make(status)

    def host_paths(self, node: str) -> HostPaths:
        """What hostPaths name on a node."""
        return HostPaths(
            files=self._rig.directory / "files" / node,
            cgroup=Path("/sys/fs/cgroup"),
            bpffs=self._bpffs(node),
        )

    def _setting(self, pod: Pod, status: Callable[[], PodStatus]) -> PodSetting:
        node = self._rig.nodes[pod.node_name]
        folder = self._rig.directory / "pods" / pod.uid
        host = self.host_paths(node.name)
        host.bpffs.mkdir(exist_ok=True)
        hosts_file = folder / "hosts"
        rewrite(hosts_file, self._hosts(status()))
        return PodSetting(
            status=status,
            volumes=PodVolumes(folder, host, self._tokens, self._references),
            hosts_file=hosts_file,
            machine=_machine_mounts(),
            base=base_environment(),
            links=lambda: self.links(pod.namespace),
            api={
                "KUBERNETES_SERVICE_HOST": node.addresses.ipv4,
                "KUBERNETES_SERVICE_PORT": str(API_PORT),
            },
            references=self._references,
        )

    def links(self, namespace: str) -> Mapping[str, str]:
        """The variables of the Services of a namespace."""
        return link_variables(namespace, self._mirror.services.values())

    def _hosts(self, status: PodStatus) -> str:
        own = [(address, status.name) for address in status.ips]
        return hosts_text(status.namespace, own, self._mirror.services.values())

    def _references(self) -> References:
        return References(self._mirror.config_maps, self._mirror.secrets)

    def _has_stand_in(self, status: PodStatus, container: str) -> bool:
        document = self._mirror.pods.get(ObjectKey(status.namespace, status.name)) or {}
        spec = document.get("spec") or {}
        for one in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            if one["name"] == container:
                return find_image(one.get("image") or "", self._images) is not None
        return False


def _machine_mounts() -> tuple[Mount, ...]:
    """What a stand-in's program is made of, where it may lie below a folder that is not shown."""
    folders = {Path(sys.prefix), Path(sys.base_prefix), _CHECKOUT}
    return tuple(Mount(folder, str(folder), read_only=True) for folder in sorted(folders))
