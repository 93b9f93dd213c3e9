"""Make pods on the nodes of a rig, keep their containers running, and take pods down in order."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from culvert.kube.timestamps import now_rfc3339
from culvert.model.finding import Finding
from culvert.rig.codes import POD_NOT_STARTED
from culvert.rig.container import Backoff, ContainerRunner, ContainerSetting
from culvert.rig.environment import container_environment
from culvert.rig.node import Node
from culvert.rig.pod import Pod
from culvert.rig.pod_status import PodStatus
from culvert.rig.podspec import Container, PodTemplate
from culvert.rig.rollout import PodKey, PodWant
from culvert.rig.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class KubeletSettings:
    """How the embedded kubelet behaves; times in seconds."""

    backoff: Backoff = field(default_factory=Backoff)
    terminating_notice_seconds: float = 0.5
    """From saying that a pod terminates to its SIGTERM: for those who watch to look away."""
    first_probe_seconds: float = 0.1
    concurrent_starts: int = 8
    network_ready: Callable[[Pod], Awaitable[None]] | None = None
    """Awaited before a pod's containers start, as a CNI plugin's ADD is in a cluster: a mesh
    captures the pod before its first connection."""
    surroundings: (
        Callable[[Pod, Container, Callable[[], PodStatus]], Surroundings | None] | None
    ) = None
    """Gives a container files and privileges of its own; without, it sees this machine's."""


def base_environment() -> dict[str, str]:
    """Return what every container gets: a search path that begins with this Python, and a home."""
    directories = [str(Path(sys.executable).parent), "/usr/local/sbin", "/usr/local/bin"]
    directories += ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    return {"PATH": os.pathsep.join(directories), "HOME": "/", "LANG": "C.UTF-8"}


class Kubelet:
    """Runs pods, each as a task of its own; use it in an ``async with`` statement.

    ``changed`` is called, on the loop, whenever the status of a pod changes. ``links`` gives the
    variables of the Services of a namespace. On leaving, all pods are killed without grace.
    """

    def __init__(
        self,
        *,
        settings: KubeletSettings,
        log_directory: Path,
        changed: Callable[[], None],
        links: Callable[[str], Mapping[str, str]],
    ) -> None:
        self._settings = settings
        self._log_directory = log_directory
        self._changed = changed
        self._links = links
        self._starts = asyncio.Semaphore(settings.concurrent_starts)
        self._pods: dict[PodKey, _RunningPod] = {}
        self._tasks = asyncio.TaskGroup()

    @property
    def pods(self) -> list[PodStatus]:
        """The status of each pod there is, those that terminate included."""
        return [pod.status for pod in self._pods.values()]

    def container(self, key: PodKey, name: str) -> ContainerRunner | None:
        """Return what runs a container, init containers included; None when there is no such."""
        pod = self._pods.get(key)
        return None if pod is None else pod.container(name)

    @property
    def findings(self) -> list[Finding]:
        """Pods that could not be made."""
        return [
            Finding(
                POD_NOT_STARTED.id,
                f"Pod {status.namespace}/{status.name}",
                "",
                status.problem,
                "remove the cause and delete the pod",
            )
            for status in self.pods
            if status.problem
        ]

    async def __aenter__(self) -> Self:
        """Take up work."""
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill all pods and wait for their tasks."""
        for pod in self._pods.values():
            pod.task.cancel()
        await self._tasks.__aexit__(kind, error, traceback)

    def start(self, want: PodWant, node: Node) -> None:
        """Begin to make a pod; a key that is there already is left alone."""
        if want.key in self._pods:
            return
        pod = _RunningPod(
            want=want,
            node=node,
            settings=self._settings,
            starts=self._starts,
            log_directory=self._log_directory,
            changed=self._changed,
            links=lambda: self._links(want.namespace),
        )
        self._pods[want.key] = pod
        pod.task = self._tasks.create_task(self._run(want.key, pod))
        self._changed()

    def stop(self, key: PodKey, *, grace_seconds: float | None = None) -> None:
        """Begin to stop a pod; one that is not there, or stops already, is left alone.

        ``grace_seconds`` takes the place of what its template says.
        """
        pod = self._pods.get(key)
        if pod is not None:
            pod.stop(grace_seconds)

    async def _run(self, key: PodKey, pod: _RunningPod) -> None:
        try:
            await pod.run()
        finally:
            del self._pods[key]
            self._changed()


class _RunningPod:
    """One pod, from the wish to the end."""

    task: asyncio.Task[None]

    def __init__(
        self,
        *,
        want: PodWant,
        node: Node,
        settings: KubeletSettings,
        starts: asyncio.Semaphore,
        log_directory: Path,
        changed: Callable[[], None],
        links: Callable[[], Mapping[str, str]],
    ) -> None:
        self._want = want
        self._node = node
        self._settings = settings
        self._starts = starts
        self._log_directory = log_directory
        self._changed = changed
        self._links = links
        self._stop = asyncio.Event()
        self._grace_seconds: float = want.template.grace_seconds
        self._runners: list[ContainerRunner] = []
        self._init_runners: list[ContainerRunner] = []
        self._status = PodStatus(
            namespace=want.namespace,
            name=want.name,
            uid=want.uid or str(uuid.uuid4()),
            owner=want.owner,
            node_name=node.name,
            zone=node.zone,
            template=want.template,
            created=now_rfc3339(),
            host_ips=(node.addresses.ipv4, node.addresses.ipv6),
        )

    @property
    def status(self) -> PodStatus:
        """What is known of it now."""
        return replace(
            self._status,
            containers=tuple(r.status for r in self._runners),
            init_containers=tuple(r.status for r in self._init_runners),
        )

    def container(self, name: str) -> ContainerRunner | None:
        """Return what runs a container; None when there is no such, or not yet."""
        runners = (*self._runners, *self._init_runners)
        return next((runner for runner in runners if runner.status.name == name), None)

    def stop(self, grace_seconds: float | None = None) -> None:
        """Begin to stop it."""
        if not self._status.terminating:
            if grace_seconds is not None:
                self._grace_seconds = grace_seconds
            self._status = replace(self._status, terminating_since=now_rfc3339())
            self._stop.set()
            self._changed()

    async def run(self) -> None:
        """Make it, run it until it is stopped, and remove it."""
        try:
            async with self._starts:
                pod = await asyncio.to_thread(
                    self._node.add_pod,
                    self._want.name,
                    namespace=self._want.namespace,
                    uid=self._status.uid,
                    host_network=self._want.template.host_network,
                )
        except (OSError, RuntimeError) as error:
            self._fail(error)
        else:
            try:
                await self._run_containers(pod)
            finally:
                await asyncio.to_thread(self._node.remove_pod, self._status.uid)
            return
        await self._stop.wait()

    def _fail(self, error: Exception) -> None:
        self._status = replace(self._status, problem=str(error))
        self._changed()

    def _environment(self, container: Container) -> Mapping[str, str]:
        return container_environment(container, self._status, self._links(), base_environment())

    async def _network_ready(self, pod: Pod) -> bool:
        """Wait for the network; False when the pod was stopped before."""
        if self._settings.network_ready is None:
            return True
        ready = asyncio.ensure_future(self._settings.network_ready(pod))
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                ready.result()
                return True
            return False
        finally:
            for task in (ready, stopped):
                task.cancel()
            await asyncio.gather(ready, stopped, return_exceptions=True)

    async def _run_containers(self, pod: Pod) -> None:
        logs = self._log_directory / f"{pod.namespace}_{pod.name}"
        logs.mkdir(parents=True, exist_ok=True)
        self._status = replace(self._status, ips=(pod.ipv4, pod.ipv6))
        template = self._want.template
        self._init_runners = [
            self._runner(pod, container, logs, _init_restart_policy(container, template))
            for container in template.init_containers
        ]
        self._runners = [
            self._runner(pod, container, logs, template.restart_policy)
            for container in template.containers
        ]
        self._changed()
        if not await self._network_ready(pod):
            return
        async with asyncio.TaskGroup() as tasks:
            starting = tasks.create_task(self._start_in_order(tasks))
            await self._stop.wait()
            await asyncio.sleep(self._settings.terminating_notice_seconds)
            starting.cancel()
            for runner in (*self._runners, *self._init_runners):
                tasks.create_task(runner.stop(self._grace_seconds))

    async def _start_in_order(self, tasks: asyncio.TaskGroup) -> None:
        """Run the init containers one after the other, then all others together.

        A sidecar only has to start; it ends when the others have ended for good.
        """
        sidecars = []
        for container, runner in zip(
            self._want.template.init_containers, self._init_runners, strict=True
        ):
            running = tasks.create_task(runner.run())
            if container.restarts_always:
                sidecars.append(runner)
                await runner.started.wait()
                continue
            # Not awaited itself: that would cancel it together with this task.
            await asyncio.wait({running})
            if self._stop.is_set() or runner.status.exit_code:
                return
        mains = {tasks.create_task(runner.run()) for runner in self._runners}
        await asyncio.wait(mains)
        for runner in sidecars:
            tasks.create_task(runner.stop(self._grace_seconds))

    def _runner(
        self, pod: Pod, container: Container, logs: Path, restart_policy: str
    ) -> ContainerRunner:
        surroundings = self._settings.surroundings
        return ContainerRunner(
            container,
            ContainerSetting(
                pod=pod,
                node_netns=self._node.netns_descriptor,
                log_file=logs / f"{container.name}.log",
                restart_policy=restart_policy,
                backoff=self._settings.backoff,
                first_probe_seconds=self._settings.first_probe_seconds,
                environment=partial(self._environment, container),
                surroundings=surroundings and surroundings(pod, container, lambda: self.status),
            ),
            self._changed,
        )


def _init_restart_policy(container: Container, template: PodTemplate) -> str:
    if container.restarts_always:
        return "Always"
    return "Never" if template.restart_policy == "Never" else "OnFailure"
