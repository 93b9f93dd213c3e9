"""One node's agent.

One world at a time goes through: decide (pure), then act in an order that never leaves a gap. A
destination is captured after the proxy has taken the configuration for it, and released before the
proxy is told to forget it. Every task belongs to one task group: one that fails ends the agent, and
the pinned programs, the maps and the proxy's last configuration carry the traffic until the next
one is up.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial

import msgspec
import structlog
from prometheus_client import CollectorRegistry

from culvert import __version__
from culvert.agent.data_path import DataPath
from culvert.agent.identities import NodeIdentities
from culvert.agent.live_connections import LiveConnections
from culvert.agent.newest import Newest
from culvert.agent.options import AgentOptions
from culvert.agent.status_lines import finding_lines, proxy_status, source_status
from culvert.compile.cache import CachedCompiler
from culvert.compile.node import with_settings_in_force
from culvert.compile.packing import SECRET_TYPE
from culvert.identity.client import ControllerIssuer, Issuer, SocketIssuer
from culvert.kube.client import KubeClient
from culvert.leader.connection import ControllerAccess, ControllerConnection
from culvert.model.codes import MISSING_FOLDER
from culvert.model.desired import Desired, Snapshot
from culvert.model.finding import Finding
from culvert.model.key import ObjectKey
from culvert.model.settings import Settings
from culvert.model.world import World
from culvert.redirect.loading import LoaderOptions, load_or_reuse
from culvert.redirect.report import LOAD_REPORT, Acceleration
from culvert.reports.sender import ReportSender
from culvert.reports.session import NodeState
from culvert.reports.state import node_state
from culvert.sources.cgroups import CgroupSource
from culvert.sources.kubernetes.source import KubernetesSource
from culvert.sources.manifests import ManifestSource
from culvert.status.document import AgentStatus, CaseLine, IdentityStatus, ReportStatus
from culvert.status.metrics import StatusCollector
from culvert.status.server import make_application, make_probe_application, serve
from culvert.xds.connection_log import connection_log_handler
from culvert.xds.debounce import Debounce
from culvert.xds.metrics import PrometheusMeter
from culvert.xds.server import NotSettledError, XdsServer

_log = structlog.get_logger(__name__)

_PROXY_START_SECONDS = 10.0
_PROXY_SYNC_SECONDS = 2.0
_GARBAGE_THRESHOLD = 50_000
"""So many more containers made than freed before the young ones are looked through."""


def is_unread(world: World) -> bool:
    """Whether a world is empty for the reason that its folder was not there."""
    missing = any(finding.code == MISSING_FOLDER.id for finding in world.findings)
    return missing and not (world.services or world.workloads)


class Agent:
    """One node's agent. ``run`` ends only by cancellation or by a failure."""

    def __init__(self, options: AgentOptions) -> None:
        self._options = options
        self._registry = CollectorRegistry()
        self._live = LiveConnections()
        # Sources let a burst of changes pass; each world that comes of it is pushed at once.
        self._xds = XdsServer(
            options.xds_socket,
            debounce=Debounce(0.0, 0.0),
            meter=PrometheusMeter(self._registry),
            services=(connection_log_handler(self._live.told),),
        )
        self._worlds: Newest[World] = Newest()
        self._world: World | None = None
        self._cgroups: Mapping[str, int] | None = None
        self._source: KubernetesSource | None = None
        self._data_path: DataPath | None = None
        self._generation = 0
        self._applied = 0
        self._applied_desired: Desired | None = None
        self._resource_versions: Mapping[str, str] = {}
        self._proxy_was_there = False
        self._desired_findings: tuple[Finding, ...] = ()
        self._resources: Snapshot | None = None
        self._to_authority: ControllerConnection | None = None
        self._identities: NodeIdentities | None = None
        if options.settings.identity:
            self._identities = NodeIdentities(self._issuer(), self._publish_secrets)
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
        report = await load_or_reuse(loader)
        # The default for pods that say nothing; a pod that asks is accelerated unless it is off.
        settings = msgspec.structs.replace(
            options.settings,
            acceleration=options.settings.acceleration and report.acceleration is Acceleration.ON,
            client_address=report.features.get("client-address") == "on",
        )
        with DataPath(options, report) as data_path:
            await data_path.add_proxy_addresses()
            self._data_path = data_path
            self._registry.register(StatusCollector(self.status))
            application = make_application(self.status, self._registry)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(serve(application, options.status_socket))
                if options.http_address is not None:
                    public = make_probe_application(self.status, self._registry)
                    tasks.create_task(serve(public, options.http_address))
                tasks.create_task(self._watch_world(settings))
                tasks.create_task(self._watch_cgroups())
                if self._identities is not None:
                    self._identities.open(
                        options.state_directory, data_path.identity_numbers_in_maps()
                    )
                    tasks.create_task(self._identities.run())
                    tasks.create_task(self._live.run())
                tasks.create_task(self._reconcile(data_path))
                tasks.create_task(data_path.check_listeners(data_path.config(settings)))
                tasks.create_task(data_path.tell_refusals())

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
                    tasks.create_task(self._report(api, self._options.controller))
                    if self._identities is not None and self._options.ca_socket is None:
                        tasks.create_task(self._reach_authority(api, self._options.controller))

    async def _report(self, api: KubeClient, access: ControllerAccess) -> None:
        self._sender = ReportSender(
            api,
            access,
            self._options.node,
            state=self._node_state,
            address=self._controller_address,
            unix_seconds=time.time,
        )
        await self._sender.run()

    async def _reach_authority(self, api: KubeClient, access: ControllerAccess) -> None:
        # Not that of reports: each looks for a new leader when its own request has failed.
        async with ControllerConnection(api, access, self._controller_address) as connection:
            self._to_authority = connection
            await asyncio.Event().wait()

    def _issuer(self) -> Issuer:
        socket = self._options.ca_socket
        if socket is not None:
            return SocketIssuer(socket)
        return ControllerIssuer(lambda: self._to_authority)

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

    async def _reconcile(self, data_path: DataPath) -> None:
        compiler = CachedCompiler(self._options.node)
        while True:
            world = await self._worlds.take()
            generation, resource_versions = self._generation, self._resource_versions
            if self._identities is not None:
                world = self._identities.number(with_settings_in_force(world), self._options.node)
            desired = compiler.compile(world)
            self._note_findings(desired.findings)
            await data_path.apply(
                desired.redirect,
                data_path.config(desired.settings),
                partial(self._settle_proxy, desired.resources),
            )
            self._applied_desired = desired
            self._live.take_policies(desired.policies)
            if not self._applied:
                # What is there now is left out of later searches, which stop all else meanwhile.
                gc.collect()
                gc.freeze()
            self._applied = generation
            _log.debug("world applied", generation=generation, resource_versions=resource_versions)

    async def _settle_proxy(self, resources: Snapshot) -> None:
        """Wait for the proxy, within limits: one that is down is the kernel's business.

        With no proxy listening the programs refuse or pass new connections by the fail mode, so
        there is nothing to wait for beyond its usual start.
        """
        self._resources = resources
        published = self._xds.publish(self._with_secrets(resources))
        limit = _PROXY_SYNC_SECONDS
        if not self._proxy_was_there:
            limit = _PROXY_START_SECONDS
        elif not self._xds.statistics():
            return
        try:
            await self._xds.wait_synced(published, timeout_seconds=limit)
        except NotSettledError as error:
            _log.warning("going on without the proxy", reason=str(error))
        self._proxy_was_there = True

    def _publish_secrets(self) -> None:
        if self._resources is not None:
            self._xds.publish(self._with_secrets(self._resources))

    def _with_secrets(self, resources: Snapshot) -> Snapshot:
        if self._identities is None:
            return resources
        return {**resources, SECRET_TYPE: self._identities.secrets()}

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

    def _findings(self) -> list[Finding]:
        of_maps = self._data_path.findings if self._data_path is not None else ()
        of_identities = self._identities.findings() if self._identities is not None else ()
        return sorted({*self._desired_findings, *of_maps, *of_identities, *self._xds.findings()})

    def _node_state(self) -> NodeState | None:
        """What there is to report; nothing before the first world is applied."""
        desired, data_path = self._applied_desired, self._data_path
        if desired is None or data_path is None:
            return None
        return node_state(
            desired.outcomes,
            desired.resources,
            [proxy.session for proxy in self._xds.statistics()],
            data_path.missing(desired.redirect),
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

    def status(self) -> AgentStatus:
        """What is so now; reads the counters from the maps."""
        data_path = self._data_path
        assert data_path is not None
        report = data_path.report
        return AgentStatus(
            node=self._options.node,
            version=__version__,
            ready=data_path.attached and self._applied == self._generation,
            generation=self._generation,
            applied_generation=self._applied,
            capture="attached" if data_path.attached else "not attached",
            acceleration=report.acceleration.value,
            acceleration_reason=report.acceleration_reason,
            kernel=report.kernel,
            source_sha256=report.source_sha256,
            program_tags=report.program_tags,
            self_test=[CaseLine(case.name, case.passed, case.detail) for case in report.self_test],
            captured_cgroup_ids=data_path.captured_cgroup_ids(),
            proxy_listeners=data_path.proxy_listeners(),
            proxies=[proxy_status(proxy) for proxy in self._xds.statistics()],
            maps=data_path.map_statuses(),
            verdicts=data_path.verdicts(),
            source=source_status(self._source, manifests_read=self._world is not None),
            findings=finding_lines(self._findings()),
            reports=self._report_status(),
            identities=self._identity_status(),
            early_connections=self._early_connections(data_path),
            early_connections_total=data_path.early.total,
        )

    def _identity_status(self) -> IdentityStatus | None:
        if self._identities is None:
            return None
        desired = self._applied_desired
        settings = desired.settings if desired is not None else self._options.settings
        return self._identities.status(settings.trust_domain, self._live)

    def _report_status(self) -> ReportStatus | None:
        if self._sender is None:
            return None
        sent = self._sender.status
        return ReportStatus(acknowledged_seconds=sent.acknowledged_seconds, error=sent.error)

    def _early_connections(self, data_path: DataPath) -> dict[str, int]:
        uids = {cgroup_id: uid for uid, cgroup_id in (self._cgroups or {}).items()}
        counts = {uids.get(key, ""): count for key, count in data_path.early.by_cgroup().items()}
        if not counts or self._world is None:
            return {}
        workloads = self._world.workloads.values()
        return {str(one.key): counts[one.uid] for one in workloads if one.uid in counts}
