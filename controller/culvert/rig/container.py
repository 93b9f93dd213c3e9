"""Run one container: start, probe, restart, stop."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from culvert.kube.timestamps import now_rfc3339
from culvert.rig import cgroup as cgroups
from culvert.rig import probe as probes
from culvert.rig.environment import expand
from culvert.rig.pod import Pod
from culvert.rig.pod_status import ContainerPhase, ContainerStatus
from culvert.rig.podspec import Container, Exec, Probe, Sleep
from culvert.rig.process import Output, exited
from culvert.rig.surroundings import NotStartableError, Surroundings

_NOT_FOUND_STATUS = 127


class NotRunningError(Exception):
    """A container has no process that something could be run beside; says which."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a container starts again; it doubles with each restart."""

    first_seconds: float = 1.0
    longest_seconds: float = 30.0
    forgiven_after_seconds: float = 60.0
    """A container that ran this long starts over with the first pause."""


@dataclass(frozen=True, slots=True)
class ContainerSetting:
    """What the container runs in."""

    pod: Pod
    node_netns: int
    log_file: Path
    restart_policy: str
    backoff: Backoff
    first_probe_seconds: float
    """Pause between readiness probes until the first success; then the probe's own period."""
    environment: Callable[[], Mapping[str, str]]
    """Asked at each start: Services come and go."""
    surroundings: Surroundings | None = None
    """Its variables take the place of ``environment``; without, it sees this machine's files."""


class ContainerRunner:
    """Keeps one container running according to its pod's restart policy.

    ``status`` is replaced, never changed; ``changed`` is called after each replacement.
    """

    def __init__(
        self, container: Container, setting: ContainerSetting, changed: Callable[[], None]
    ) -> None:
        self._container = container
        self._setting = setting
        self._changed = changed
        self._process: subprocess.Popen[bytes] | None = None
        self._environment: Mapping[str, str] = {}
        self._stopping = asyncio.Event()
        self.started = asyncio.Event()
        """Set once it has ever started, its startup probe included."""
        self.status = ContainerStatus(container.name)
        self.log_file = setting.log_file
        self.runs_at: list[int] = []
        """Where in the log each run began, in bytes."""

    async def run(self) -> None:
        """Run until the container has ended for good, or ``stop`` was called."""
        loop = asyncio.get_running_loop()
        pause_seconds = self._setting.backoff.first_seconds
        try:
            while not self._stopping.is_set():
                if not await self._prepared():
                    await self._pause(pause_seconds)
                    continue
                started_at = loop.time()
                exit_code = await self._run_once()
                if self._stopping.is_set() or not self._restarts_after(exit_code):
                    reason = "Error" if exit_code else "Completed"
                    self._update(
                        phase=ContainerPhase.TERMINATED,
                        ready=False,
                        exit_code=exit_code,
                        reason=reason,
                        finished_at=now_rfc3339(),
                    )
                    return
                if loop.time() - started_at >= self._setting.backoff.forgiven_after_seconds:
                    pause_seconds = self._setting.backoff.first_seconds
                reason = "CommandNotFound" if exit_code == _NOT_FOUND_STATUS else "CrashLoopBackOff"
                self._update(
                    phase=ContainerPhase.WAITING,
                    ready=False,
                    restarts=self.status.restarts + 1,
                    exit_code=exit_code,
                    reason=reason,
                    finished_at=now_rfc3339(),
                )
                await self._pause(pause_seconds)
                pause_seconds = min(2 * pause_seconds, self._setting.backoff.longest_seconds)
            self._update(phase=ContainerPhase.TERMINATED, ready=False, reason="Completed")
        finally:
            self._kill()

    async def stop(self, grace_seconds: float) -> None:
        """Run the preStop hook, send SIGTERM, and after ``grace_seconds`` in all SIGKILL.

        Returns when SIGTERM did its work or SIGKILL is sent; ``run`` then ends.
        """
        self._stopping.set()
        if self._process is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._before_stop()
                if self._process is not None:
                    self._process.send_signal(signal.SIGTERM)
                    await exited(self._process)
        self._kill()

    async def _pause(self, seconds: float) -> None:
        """Wait, or until the container is to stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _prepared(self) -> bool:
        """Make ready for a start; False when something is missing, which is then the status."""
        if self._setting.surroundings is None:
            self._environment = self._setting.environment()
            return True
        try:
            self._environment = await self._setting.surroundings.prepare()
        except NotStartableError as error:
            self._update(phase=ContainerPhase.WAITING, reason=error.reason, message=error.message)
            return False
        return True

    async def _run_once(self) -> int:
        """Start the container, probe it, and return its exit status."""
        argv = [expand(word, self._environment) for word in self._container.command]
        around = self._setting.surroundings
        with self.log_file.open("ab") as log:
            self.runs_at.append(log.tell())
            try:
                self._process = self._setting.pod.start(
                    argv if around is None else around.launch(argv),
                    container=self._container.name,
                    env=self._environment,
                    cwd=self._directory,
                    stdout=log,
                    stderr=log,
                )
            except OSError as error:
                log.write(f"cannot start {argv[0]}: {error}\n".encode())
                return _NOT_FOUND_STATUS
        self._update(phase=ContainerPhase.RUNNING, reason="", started_at=now_rfc3339())
        tasks = [asyncio.create_task(self._watch())]
        try:
            return await exited(self._process)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._process = None
            # What the main process left running does not outlive it.
            self._kill()

    async def _watch(self) -> None:
        """Probe the container for as long as it runs; no other probe before it has started."""
        if self._container.startup is not None and not await self._starts_up(
            self._container.startup
        ):
            self._kill()
            return
        self.started.set()
        self._update(ready=self._container.readiness is None, started=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_readiness())
            tasks.create_task(self._watch_liveness())

    async def _starts_up(self, probe: Probe) -> bool:
        await asyncio.sleep(probe.initial_delay_seconds)
        for _ in range(probe.failure_threshold):
            if await self._attempt(probe):
                return True
            await asyncio.sleep(probe.period_seconds)
        return False

    async def _watch_readiness(self) -> None:
        probe = self._container.readiness
        if probe is None:
            return
        tally = probes.Tally(probe, passing=False)
        ever = False
        await asyncio.sleep(probe.initial_delay_seconds)
        while True:
            ready = tally.record(success=await self._attempt(probe))
            ever = ever or ready
            if ready != self.status.ready and not self._stopping.is_set():
                self._update(ready=ready)
            await asyncio.sleep(probe.period_seconds if ever else self._setting.first_probe_seconds)

    async def _watch_liveness(self) -> None:
        probe = self._container.liveness
        if probe is None:
            return
        tally = probes.Tally(probe, passing=True)
        await asyncio.sleep(probe.initial_delay_seconds)
        while True:
            if not tally.record(success=await self._attempt(probe)):
                self._kill()
                return
            await asyncio.sleep(probe.period_seconds)

    async def _attempt(self, probe: Probe) -> bool:
        return await probes.attempt(
            probe, self._setting.pod.ipv4, self._setting.node_netns, self._execute
        )

    async def _before_stop(self) -> None:
        match self._container.pre_stop:
            case Sleep(seconds=seconds):
                await asyncio.sleep(seconds)
            case Exec(command=command):
                await self._execute(command)
            case None:
                return

    async def _execute(self, command: tuple[str, ...]) -> int:
        """Run a command beside the container's own and return its exit status."""
        try:
            started = await self.start_beside(command)
        except NotRunningError:
            return _NOT_FOUND_STATUS
        try:
            return await started.wait()
        finally:
            if started.returncode is None:
                started.kill()
                await started.wait()

    async def start_beside(
        self,
        argv: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        around: Sequence[str] = (),
        stdin: Output = subprocess.DEVNULL,
        stdout: Output = subprocess.DEVNULL,
        stderr: Output = subprocess.DEVNULL,
    ) -> asyncio.subprocess.Process:
        """Start a program where the container's own runs, and as what it runs.

        ``variables`` come on top of the container's; ``around`` are the words of a program of this
        machine that runs it. It leads a process group, and ends at the latest with the container.

        Raises:
            NotRunningError: the container does not run now.
        """
        main, surroundings = self.require_running(), self._setting.surroundings
        words = argv if surroundings is None else surroundings.beside(argv, main.pid)
        return await self._setting.pod.start_async(
            [*around, *words],
            container=self._container.name,
            env={**self._environment, **(variables or {})},
            cwd=self._directory,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )

    def require_running(self) -> subprocess.Popen[bytes]:
        """Return the main process.

        Raises:
            NotRunningError: the container does not run now.
        """
        if self._process is None:
            reason = f": {self.status.reason}" if self.status.reason else ""
            raise NotRunningError(f"container {self._container.name} does not run{reason}")
        return self._process

    @property
    def _directory(self) -> Path:
        # Surroundings have files of their own, and change to the directory there.
        return Path("/" if self._setting.surroundings else self._container.working_directory)

    def _restarts_after(self, exit_code: int) -> bool:
        match self._setting.restart_policy:
            case "Always":
                return True
            case "OnFailure":
                return exit_code != 0
            case _:
                return False

    def _kill(self) -> None:
        # By its pid as well: one that has only just been forked is not in its cgroup yet.
        if self._process is not None:
            self._process.kill()
        cgroups.kill(self._setting.pod.cgroup / self._container.name)

    def _update(
        self,
        *,
        phase: ContainerPhase | None = None,
        ready: bool | None = None,
        restarts: int | None = None,
        exit_code: int | None = None,
        reason: str | None = None,
        message: str = "",
        started: bool | None = None,
        started_at: str | None = None,
        finished_at: str | None = None,
    ) -> None:
        status = self.status
        runs = (phase or status.phase) is ContainerPhase.RUNNING
        self.status = replace(
            status,
            phase=status.phase if phase is None else phase,
            ready=status.ready if ready is None else ready,
            restarts=status.restarts if restarts is None else restarts,
            exit_code=status.exit_code if exit_code is None else exit_code,
            reason=status.reason if reason is None else reason,
            message=message,
            started=runs and (status.started if started is None else started),
            started_at=status.started_at if started_at is None else started_at,
            finished_at=status.finished_at if finished_at is None else finished_at,
        )
        if self.status != status:
            self._changed()
