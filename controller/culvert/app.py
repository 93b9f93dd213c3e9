"""The agent: the only place where sources, compiler, xDS server, maps and status meet.

One world at a time goes through: decide (pure), then act in an order that never leaves a gap. A
destination is captured after the proxy has taken the configuration for it, and released before the
proxy is told to forget it. Every task belongs to one task group: one that fails ends the agent, and
the pinned programs, the maps and the proxy's last configuration carry the traffic until the next
one is up.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import structlog
from prometheus_client import CollectorRegistry

from culvert import __version__
from culvert.compile.cache import CachedCompiler
from culvert.compile.redirect import compile_redirect_config
from culvert.kube.client import KubeClient
from culvert.model.codes import MAP_FULL, MISSING_FOLDER
from culvert.model.desired import Desired
from culvert.model.finding import Finding
from culvert.model.key import ObjectKey
from culvert.model.redirect import RedirectConfig
from culvert.model.settings import Settings
from culvert.model.world import World
from culvert.netlink.proxy_address import ensure_proxy_addresses
from culvert.redirect.attach import attach, attach_sk_msg, detach_others, hooks
from culvert.redirect.early import EarlyConnections
from culvert.redirect.encode import (
    CONFIG,
    DESTINATIONS,
    PODS,
    MapContents,
    TableEncoder,
    encode_destination_key,
)
from culvert.redirect.kernel import KernelMaps, MapFull
from culvert.redirect.listening import read_proxy_listeners
from culvert.redirect.loading import LoaderOptions, load_or_reuse
from culvert.redirect.plan import Change, Put, diff, phases
from culvert.redirect.report import LOAD_REPORT, Acceleration, LoadReport
from culvert.reports.sender import ControllerAccess, ReportSender
from culvert.reports.session import NodeState
from culvert.reports.state import node_state
from culvert.sources.cgroups import CgroupSource
from culvert.sources.kubernetes.source import KubernetesSource
from culvert.sources.manifests import ManifestSource
from culvert.status.document import (
    AgentStatus,
    CaseLine,
    FindingLine,
    MapStatus,
    ProxyStatus,
    ReportStatus,
    SourceStatus,
    TypeStatus,
    VerdictCount,
)
from culvert.status.metrics import StatusCollector
from culvert.status.server import make_application, make_probe_application, serve
from culvert.xds.debounce import Debounce
from culvert.xds.metrics import PrometheusMeter
from culvert.xds.server import NotSettledError, ProxyStatistics, XdsServer

_log = structlog.get_logger(__name__)

_PROXY_START_SECONDS = 10.0
_PROXY_SYNC_SECONDS = 2.0
_LISTENER_CHECK_SECONDS = 1.0
_GARBAGE_THRESHOLD = 50_000
"""So many more containers made than freed before the young ones are looked through."""


@dataclass(frozen=True, slots=True)
class KubernetesAccess:
    """How to reach the API. ``kubeconfig`` None: $KUBECONFIG, else the pod's service account."""

    kubeconfig: Path | None = None


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """Everything an agent is told from outside.

    The world comes from the Kubernetes API if ``kubernetes`` is set, else from ``manifests``.
    ``pods_cgroup`` and ``proxy_cgroup`` are cgroup v2 directories, ``bpf_root`` one in bpffs that
    belongs to this agent alone, ``state_directory`` an ordinary one.
    """

    node: str
    manifests: tuple[Path, ...]
    pods_cgroup: Path
    proxy_cgroup: Path
    cgroup_root: Path
    bpf_root: Path
    xds_socket: Path
    status_socket: Path
    state_directory: Path
    settings: Settings = field(default_factory=Settings)
    without: frozenset[str] = frozenset()
    kubernetes: KubernetesAccess | None = None
    http_address: tuple[str, int] | None = None
    """Where health and metrics are served besides ``status_socket``; the port is in host order."""
    controller: ControllerAccess | None = None
    """Where to report; only for a world from the Kubernetes API."""


def pod_levels(cgroup_root: Path, pods_cgroup: Path) -> tuple[int, int]:
    """First and last level at which a pod's cgroup may be, the root being level 0.

    A pod is at most two levels (its QoS class) below the pods' cgroup.
    """
    depth = len(pods_cgroup.resolve().relative_to(cgroup_root.resolve()).parts)
    return depth + 1, depth + 3


def is_unread(world: World) -> bool:
    """Whether a world is empty for the reason that its folder was not there."""
    missing = any(finding.code == MISSING_FOLDER.id for finding in world.findings)
    return missing and not (world.services or world.workloads)


def full_map_findings(full: Iterable[MapFull]) -> list[Finding]:
    """One finding for each map that had no room."""
    return [
        Finding(
            code=MAP_FULL.id,
            subject=f"map {one.map_name}",
            field="",
            message=f"{one.refused} entries do not fit into {one.max_entries}; "
            "what they stand for is not captured or not accelerated",
            remedy="split the node's load, or raise the map's capacity",
        )
        for one in full
    ]


_T = TypeVar("_T")


class _Slot(Generic[_T]):
    """Holds the newest value only: a reader that is late skips what was overtaken."""

    def __init__(self) -> None:
        self._value: _T | None = None
        self._present = asyncio.Event()

    def put(self, value: _T) -> None:
        self._value = value
        self._present.set()

    async def take(self) -> _T:
        await self._present.wait()
        self._present.clear()
        assert self._value is not None
        return self._value


class Agent:
    """One node's agent. ``run`` ends only by cancellation or by a failure."""

    def __init__(self, options: AgentOptions) -> None:
        self._options = options
        self._registry = CollectorRegistry()
        # Sources let a burst of changes pass; each world that comes of it is pushed at once.
        self._xds = XdsServer(
            options.xds_socket, debounce=Debounce(0.0, 0.0), meter=PrometheusMeter(self._registry)
        )
        self._worlds: _Slot[World] = _Slot()
        self._world: World | None = None
        self._cgroups: Mapping[str, int] | None = None
        self._source: KubernetesSource | None = None
        # One thread for all system calls on maps and links: they block, and must not overtake.
        self._kernel_thread = ThreadPoolExecutor(1, thread_name_prefix="kernel")
        self._report: LoadReport | None = None
        self._maps: KernelMaps | None = None
        # What the maps hold: read once, for they may be a predecessor's, then kept in step.
        self._have: MapContents | None = None
        self._encoder = TableEncoder()
        self._attached = False
        self._generation = 0
        self._applied = 0
        self._resource_versions: Mapping[str, str] = {}
        self._proxy_was_there = False
        self._desired_findings: tuple[Finding, ...] = ()
        self._map_findings: list[Finding] = []
        self._applied_desired: Desired | None = None
        # Destinations, as keys of their map, that it did not show when it was read back.
        self._missing: frozenset[bytes] = frozenset()
        self._early = EarlyConnections()
        self._sender: ReportSender | None = None

    async def run(self) -> None:
        """Load, then serve until cancelled.

        Raises:
            LoaderError: this node cannot capture traffic.
            AttachError: a program could not be attached.
        """
        options = self._options
        # A world is millions of objects that stay. Looking through all of them for garbage, each
        # time that their number has grown by a quarter, takes longer than reading them.
        gc.set_threshold(_GARBAGE_THRESHOLD)
        loader = LoaderOptions(
            root=options.bpf_root,
            cgroup_root=options.cgroup_root,
            report_path=options.state_directory / LOAD_REPORT,
            without=options.without,
        )
        async with asyncio.TaskGroup() as tasks:
            # The proxy may connect, and wait for its answer, while the programs are compiled.
            tasks.create_task(self._xds.run())
            tasks.create_task(self._run_data_path(loader))

    async def _run_data_path(self, loader: LoaderOptions) -> None:
        options = self._options
        self._report = report = await load_or_reuse(loader)
        added = await self._in_kernel_thread(
            partial(ensure_proxy_addresses, options.settings.proxy_addresses)
        )
        if added:
            _log.info("proxy addresses added", addresses=added)
        # The default for pods that say nothing; a pod that asks is accelerated unless it is off.
        settings = msgspec.structs.replace(
            options.settings,
            acceleration=options.settings.acceleration and report.acceleration is Acceleration.ON,
        )
        config = self._redirect_config(settings)
        self._maps = KernelMaps(Path(report.maps_path))
        self._registry.register(StatusCollector(self.status))
        application = make_application(self.status, self._registry)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(serve(application, options.status_socket))
                if options.http_address is not None:
                    public = make_probe_application(self.status, self._registry)
                    tasks.create_task(serve(public, options.http_address))
                tasks.create_task(self._watch_world(settings))
                tasks.create_task(self._watch_cgroups())
                tasks.create_task(self._reconcile())
                tasks.create_task(self._check_listeners(config))
        finally:
            self._maps.close()
            self._kernel_thread.shutdown()

    async def _watch_world(self, settings: Settings) -> None:
        access = self._options.kubernetes
        if access is None:
            await self._take_worlds(ManifestSource(self._options.manifests).watch(), settings)
            return
        async with KubeClient.load(access.kubeconfig) as api:
            self._source = KubernetesSource(api, node=self._options.node)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._take_worlds(self._source.watch(), settings))
                if self._options.controller is not None:
                    self._sender = ReportSender(
                        api,
                        self._options.controller,
                        self._options.node,
                        state=self._node_state,
                        address=self._controller_address,
                        unix_seconds=time.time,
                    )
                    tasks.create_task(self._sender.run())

    async def _take_worlds(self, worlds: AsyncIterator[World], settings: Settings) -> None:
        async for world in worlds:
            self._world = msgspec.structs.replace(world, settings=settings)
            self._offer()

    async def _watch_cgroups(self) -> None:
        async for cgroups in CgroupSource(self._options.pods_cgroup).watch():
            self._cgroups = cgroups
            self._offer()

    def _offer(self) -> None:
        """Pass the world on once every source has spoken.

        The maps may hold a predecessor's entries, which carry live traffic. Half a world, or a
        folder that is not mounted yet, must not be taken for the order to remove them.
        """
        if self._world is None or self._cgroups is None:
            return
        if not self._generation and is_unread(self._world):
            _log.warning("no manifests yet; what the maps hold stays")
            return
        self._generation += 1
        if self._source is not None:
            self._resource_versions = self._source.resource_versions
        self._worlds.put(msgspec.structs.replace(self._world, local_cgroups=self._cgroups))

    def _redirect_config(self, settings: Settings) -> RedirectConfig:
        """The maps' configuration by these settings, as far as this kernel goes along."""
        options, report = self._options, self._report
        assert report is not None
        return replace(
            compile_redirect_config(settings),
            accelerate=report.acceleration is not Acceleration.OFF,
            pod_levels=pod_levels(options.cgroup_root, options.pods_cgroup),
        )

    async def _reconcile(self) -> None:
        compiler = CachedCompiler(self._options.node)
        while True:
            world = await self._worlds.take()
            generation, resource_versions = self._generation, self._resource_versions
            desired = compiler.compile(world)
            await self._apply(desired, self._redirect_config(desired.settings))
            if not self._applied:
                # What is there now is left out of later searches, which stop all else meanwhile.
                gc.collect()
                gc.freeze()
            self._applied = generation
            _log.debug("world applied", generation=generation, resource_versions=resource_versions)

    async def _apply(self, desired: Desired, config: RedirectConfig) -> None:
        assert self._maps is not None
        self._note_findings(desired.findings)
        want = self._encoder.encode(config, desired.redirect)
        if self._have is None:
            self._have = await self._in_kernel_thread(self._maps.read)
        plan = phases(diff(self._have, want))
        full = await self._write(plan.before_proxy)
        if not self._attached:
            # Before the proxy listens: its listening sockets are counted from their first moment.
            await self._in_kernel_thread(partial(self._attach, config, capture=False))
        published = self._xds.publish(desired.resources)
        await self._let_proxy_settle(published)
        full += await self._write(plan.after_proxy)
        self._have = want
        if full:
            # What was removed after the first try may have made room.
            self._have = await self._in_kernel_thread(self._maps.read)
            full = await self._write(diff(self._have, want))
            self._have = await self._in_kernel_thread(self._maps.read)
        self._map_findings = full_map_findings(full)
        written = (*plan.before_proxy, *plan.after_proxy)
        self._missing = await self._in_kernel_thread(partial(self._read_back, written, want))
        await self._in_kernel_thread(
            partial(self._early.follow, plan.before_proxy, self._maps.take_early)
        )
        self._applied_desired = desired
        if not self._attached:
            await self._in_kernel_thread(partial(self._attach, config, capture=True))
            self._attached = True

    async def _write(self, changes: list[Change]) -> list[MapFull]:
        assert self._maps is not None
        return await self._in_kernel_thread(partial(self._maps.apply, changes))

    def _read_back(self, written: Iterable[Change], want: MapContents) -> frozenset[bytes]:
        """Which wanted destinations the map does not show, of those that were written just now."""
        assert self._maps is not None
        wanted = want[DESTINATIONS]
        keys = {change.key for change in written if change.map_name == DESTINATIONS}
        puts = [
            Put(DESTINATIONS, key, wanted[key]) for key in keys | self._missing if key in wanted
        ]
        missing = frozenset(change.key for change in self._maps.unconfirmed(puts))
        if missing:
            _log.warning("destinations are not in the map; the next change tries again")
            self._have = self._maps.read()
        return missing

    def _node_state(self) -> NodeState | None:
        """What there is to report; nothing before the first world is applied."""
        desired = self._applied_desired
        if desired is None or not self._attached:
            return None
        missing = (
            [
                key
                for key in desired.redirect.destinations
                if encode_destination_key(key) in self._missing
            ]
            if self._missing
            else ()
        )
        return node_state(
            desired.outcomes,
            desired.resources,
            [proxy.session for proxy in self._xds.statistics()],
            missing,
            self._findings(),
        )

    def _controller_address(self) -> tuple[str, int] | None:
        """Cluster IP and port, in host order, of the controller's Service."""
        access = self._options.controller
        if access is None or self._world is None:
            return None
        service = self._world.services.get(ObjectKey(access.namespace, access.service))
        if service is None or not service.cluster_addresses or not service.ports:
            return None
        return str(service.cluster_addresses[0]), service.ports[0].port_host

    def _findings(self) -> list[Finding]:
        return sorted({*self._desired_findings, *self._map_findings, *self._xds.findings()})

    async def _let_proxy_settle(self, generation: int) -> None:
        """Wait for the proxy, within limits: one that is down is the kernel's business.

        With no proxy listening the programs refuse or pass new connections by the fail mode, so
        there is nothing to wait for beyond its usual start.
        """
        limit = _PROXY_SYNC_SECONDS
        if not self._proxy_was_there:
            limit = _PROXY_START_SECONDS
        elif not self._xds.statistics():
            return
        try:
            await self._xds.wait_synced(generation, timeout_seconds=limit)
        except NotSettledError as error:
            _log.warning("going on without the proxy", reason=str(error))
        self._proxy_was_there = True

    def _attach(self, config: RedirectConfig, *, capture: bool) -> None:
        """Attach everything, or with ``capture`` False all but the hooks that capture."""
        assert self._report is not None
        assert self._maps is not None
        programs = Path(self._report.programs_path)
        maps = Path(self._report.maps_path)
        if (programs / "cv_sk_msg").exists():
            attach_sk_msg(programs, maps)
        wanted = tuple(
            hook
            for hook in hooks(self._options.pods_cgroup, self._options.proxy_cgroup)
            if (programs / hook.program).exists()
        )
        links = self._options.bpf_root / "links"
        if not capture:
            attach(programs, links, tuple(hook for hook in wanted if not hook.captures))
            self._maps.set_proxy_listeners(read_proxy_listeners(config))
            return
        attach(programs, links, wanted)
        detach_others(links, wanted)
        _log.info("programs attached", hooks=[hook.name for hook in wanted])

    async def _check_listeners(self, config: RedirectConfig) -> None:
        """Correct the kernel's count of proxy listeners if it is off twice running."""
        assert self._maps is not None
        last_difference = 0
        while True:
            await asyncio.sleep(_LISTENER_CHECK_SECONDS)
            real = await self._in_kernel_thread(partial(read_proxy_listeners, config))
            difference = real - self._maps.proxy_listeners()
            if difference and difference == last_difference and self._attached:
                _log.warning("corrected the count of proxy listeners", sockets=real)
                self._maps.set_proxy_listeners(real)
            last_difference = difference

    def _note_findings(self, findings: tuple[Finding, ...]) -> None:
        for finding in sorted(set(findings) - set(self._desired_findings)):
            _log.warning(
                "finding",
                code=finding.code,
                subject=finding.subject,
                field=finding.field,
                message=finding.message,
                remedy=finding.remedy,
            )
        self._desired_findings = findings

    async def _in_kernel_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._kernel_thread, call)

    def status(self) -> AgentStatus:
        """What is so now; reads the counters from the maps."""
        report, maps = self._report, self._maps
        assert report is not None
        assert maps is not None
        proxies = self._xds.statistics()
        return AgentStatus(
            node=self._options.node,
            version=__version__,
            ready=self._attached and self._applied == self._generation,
            generation=self._generation,
            applied_generation=self._applied,
            capture="attached" if self._attached else "not attached",
            acceleration=report.acceleration.value,
            acceleration_reason=report.acceleration_reason,
            kernel=report.kernel,
            source_sha256=report.source_sha256,
            program_tags=report.program_tags,
            self_test=[CaseLine(case.name, case.passed, case.detail) for case in report.self_test],
            captured_cgroup_ids=[
                int.from_bytes(key, sys.byteorder) for key in (self._have or {}).get(PODS, {})
            ],
            proxy_listeners=maps.proxy_listeners(),
            proxies=[_proxy_status(proxy) for proxy in proxies],
            maps=[
                MapStatus(name, len(entries), maps.max_entries(name))
                for name, entries in (self._have or {}).items()
                if name != CONFIG
            ],
            verdicts={
                verdict.name.lower(): VerdictCount(tally.count, tally.bytes)
                for verdict, tally in maps.tallies().items()
            },
            source=self._source_status(),
            findings=[
                FindingLine(
                    one.code, one.severity.value, one.subject, one.field, one.message, one.remedy
                )
                for one in self._findings()
            ],
            reports=self._report_status(),
            early_connections=self._early_connections(),
            early_connections_total=self._early.total,
        )

    def _early_connections(self) -> dict[str, int]:
        uids = {cgroup_id: uid for uid, cgroup_id in (self._cgroups or {}).items()}
        counts = {uids.get(key, ""): count for key, count in self._early.by_cgroup().items()}
        if not counts or self._world is None:
            return {}
        workloads = self._world.workloads.values()
        return {str(one.key): counts[one.uid] for one in workloads if one.uid in counts}

    def _report_status(self) -> ReportStatus | None:
        if self._sender is None:
            return None
        sent = self._sender.status
        return ReportStatus(acknowledged_seconds=sent.acknowledged_seconds, error=sent.error)

    def _source_status(self) -> SourceStatus:
        if self._source is None:
            return SourceStatus("manifests", synced=self._world is not None)
        health = self._source.health()
        return SourceStatus(
            "kubernetes",
            synced=health.synced,
            stale_since_seconds=dict(health.stale),
            absent=list(health.absent),
            errors={name: kind.error for name, kind in health.kinds.items() if kind.error},
        )


def _proxy_status(proxy: ProxyStatistics) -> ProxyStatus:
    return ProxyStatus(
        node_id=proxy.node_id,
        synced=proxy.session.synced,
        types=[
            TypeStatus(
                type_url=one.type_url,
                accepted=len(one.accepted),
                pending=one.pending,
                rejected=len(one.rejected),
            )
            for one in proxy.session.types.values()
        ],
    )
