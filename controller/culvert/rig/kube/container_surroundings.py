"""The surroundings of the containers of one pod of an API server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from culvert.rig.kube.container_root import (
    Mount,
    beside_command,
    launch_command,
    root_script,
)
from culvert.rig.kube.pod_volumes import PodVolumes
from culvert.rig.kube.privileges import Privileges, privileges_of
from culvert.rig.kube.references import References
from culvert.rig.kube.variables import kube_environment
from culvert.rig.pod_status import PodStatus
from culvert.rig.podspec import Container


@dataclass(frozen=True, slots=True)
class PodSetting:
    """What the containers of one pod share."""

    status: Callable[[], PodStatus]
    volumes: PodVolumes
    hosts_file: Path
    machine: Sequence[Mount]
    """Folders of this machine that its programs need."""
    base: Mapping[str, str]
    links: Callable[[], Mapping[str, str]]
    api: Mapping[str, str]
    references: Callable[[], References]


class ContainerSurroundings:
    """Of one container; see ``culvert.rig.surroundings``."""

    def __init__(self, container: Container, setting: PodSetting) -> None:
        self._container = container
        self._setting = setting
        self._privileges: Privileges | None = None
        self._mounts: list[Mount] = []

    async def prepare(self) -> Mapping[str, str]:
        """Make the pod's volumes and return the container's variables.

        Raises:
            NotStartableError: something it names is not there, or it may not run as it would.
        """
        setting, status = self._setting, self._setting.status()
        spec = self._spec(status)
        self._privileges = privileges_of(status.template.spec, spec)
        await setting.volumes.make(status)
        hosts = Mount(setting.hosts_file, "/etc/hosts")
        self._mounts = [*setting.machine, hosts, *setting.volumes.mounts(spec)]
        return kube_environment(
            self._container,
            status,
            base=setting.base,
            links=setting.links(),
            api=setting.api,
            references=setting.references(),
        )

    def launch(self, argv: Sequence[str]) -> list[str]:
        """Return the command that makes the container's files and becomes ``argv``."""
        assert self._privileges is not None, "prepare comes first"
        base = self._setting.volumes.folder / "roots" / self._container.name
        base.mkdir(parents=True, exist_ok=True)
        directory = self._container.working_directory
        return launch_command(root_script(base, self._mounts, self._privileges, directory), argv)

    def beside(self, argv: Sequence[str], main_pid: int) -> list[str]:
        """Return the command that runs ``argv`` among the container's files."""
        assert self._privileges is not None, "prepare comes first"
        return beside_command(main_pid, self._privileges, self._container.working_directory, argv)

    def _spec(self, status: PodStatus) -> Mapping[str, Any]:
        spec = status.template.spec
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            if container["name"] == self._container.name:
                found: Mapping[str, Any] = container
                return found
        raise AssertionError(f"no container {self._container.name}")
