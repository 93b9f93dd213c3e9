"""The volumes of one pod, as folders of this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from culvert.kube.errors import ApiError, ApiUnreachable
from culvert.rig.kube.container_root import Mount
from culvert.rig.kube.host_paths import HostPaths
from culvert.rig.kube.references import References
from culvert.rig.kube.tokens import Tokens
from culvert.rig.kube.volume_files import tokens_wanted, volume_files
from culvert.rig.kube.volume_folder import write_files
from culvert.rig.pod_status import PodStatus
from culvert.rig.surroundings import NotStartableError

_DIRECTORIES = ("Directory", "DirectoryOrCreate", "")


class PodVolumes:
    """Of one pod. ``folder`` is the pod's own, and goes with it.

    ``references`` gives what ConfigMaps and Secrets there are now.
    """

    def __init__(
        self,
        folder: Path,
        host: HostPaths,
        tokens: Tokens,
        references: Callable[[], References],
    ) -> None:
        self.folder = folder
        self._host = host
        self._tokens = tokens
        self._references = references
        self._lock = asyncio.Lock()
        self._made: dict[str, Path] = {}

    async def make(self, pod: PodStatus) -> None:
        """Make all volumes; those that are made of objects get their present contents.

        Raises:
            NotStartableError: a volume needs what is not there, or is of a kind there is not.
        """
        async with self._lock:
            for volume in pod.template.spec.get("volumes") or []:
                try:
                    self._made[volume["name"]] = await self._make_volume(volume, pod)
                except (ApiError, ApiUnreachable, OSError) as error:
                    raise NotStartableError(
                        "ContainerCreating", f"volume {volume['name']}: {error}"
                    ) from error

    def mounts(self, container: Mapping[str, Any]) -> list[Mount]:
        """Return what to mount in a container of a pod whose volumes are made.

        Raises:
            NotStartableError: it mounts what is not there.
        """
        mounts = []
        for mount in container.get("volumeMounts") or []:
            source = self._made.get(mount["name"])
            if source is None:
                raise NotStartableError(
                    "CreateContainerConfigError", f"there is no volume {mount['name']!r}"
                )
            if sub_path := mount.get("subPath"):
                source = source / sub_path
                if not source.exists():
                    source.mkdir(parents=True)
                # A file of a ConfigMap is a link: mount what it leads to, for good.
                source = source.resolve()
            mounts.append(Mount(source, mount["mountPath"], bool(mount.get("readOnly"))))
        return mounts

    def remove(self) -> None:
        """Remove everything of the pod; paths of the host stay."""
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _make_volume(self, volume: Mapping[str, Any], pod: PodStatus) -> Path:
        folder: Path = self.folder / "volumes" / volume["name"]
        security = pod.template.spec.get("securityContext") or {}
        uid, gid = int(security.get("runAsUser", -1)), int(security.get("fsGroup", -1))
        if volume.get("emptyDir") is not None:
            await asyncio.to_thread(_make_empty, folder, gid)
            return folder
        if host_path := volume.get("hostPath"):
            return _host_path(host_path["path"], host_path.get("type") or "", self._host)
        wanted = list(tokens_wanted(volume))
        tokens = {want: await self._tokens.token(pod, want) for want in wanted}
        files = volume_files(volume, pod, self._references(), tokens)
        if files is None:
            kinds = ", ".join(sorted(volume.keys() - {"name"}))
            raise NotStartableError(
                "ContainerCreating", f"volume {volume['name']}: nodes of a rig have no {kinds}"
            )
        await asyncio.to_thread(write_files, folder, files, uid=uid, gid=gid)
        return folder


def _make_empty(folder: Path, gid: int) -> None:
    if folder.is_dir():
        return
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    os.chown(folder, -1, gid)


def _host_path(path: str, kind: str, host: HostPaths) -> Path:
    """Return what a hostPath names; make it if it shall be made (HostPathVolumeSource)."""
    real = host.real(path)
    if kind.endswith("OrCreate") and not host.belongs_to_kernel(path):
        if kind in _DIRECTORIES:
            real.mkdir(parents=True, exist_ok=True)
        else:
            real.parent.mkdir(parents=True, exist_ok=True)
            real.touch()
    elif kind == "" and not real.exists():
        # The kubelet leaves it to the runtime, and runtimes make a folder.
        real.mkdir(parents=True)
    if not real.exists():
        raise NotStartableError("ContainerCreating", f"hostPath {path} is not there")
    return real
