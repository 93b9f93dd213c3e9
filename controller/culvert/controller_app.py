"""The controller: tells the owners of objects what became of them on all nodes.

Of several replicas one leads; only that one watches the cluster, takes reports and writes. A leader
that cannot keep its lease ends, for another may have taken over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from culvert.compile.cache import CachedCompiler
from culvert.control.aggregate import Aggregate
from culvert.control.caller import Callers
from culvert.control.election import Election
from culvert.control.event_key import standing_events
from culvert.control.event_writer import EventWriter
from culvert.control.intake import make_intake
from culvert.control.metrics import ControllerCounters, LeaderCollector
from culvert.control.publication import keep_published
from culvert.control.serving_certificate import make_serving_certificate
from culvert.control.status_object import StatusObject, read_status_object
from culvert.control.status_plan import plan_status
from culvert.control.status_writer import PLURALS, StatusKey, StatusWriter
from culvert.controller_authority import ControllerAuthority, ControllerAuthorityOptions
from culvert.kube.client import KubeClient
from culvert.kube.reflector import Reflector
from culvert.kube.timestamps import now_rfc3339
from culvert.model.desired import Desired
from culvert.model.key import ObjectKey
from culvert.model.leader import LeaderEntry
from culvert.model.outcome import ObjectOutcome
from culvert.model.report import ReportedFinding
from culvert.model.settings import Settings
from culvert.sources.kubernetes.kinds import POLICY_API, judging_kinds
from culvert.sources.kubernetes.source import KubernetesSource
from culvert.status.server import make_metrics_application, serve

_log = structlog.get_logger(__name__)

_TICK_SECONDS = 0.5
_NO_NODE = ""
"""The name of the node as which the controller compiles: it has no pods."""


@dataclass(frozen=True, slots=True)
class ControllerOptions:
    """Everything a controller is told from outside.

    ``service`` names its Service, and with it the Lease and the ConfigMap; ``identity`` is unique
    among all controllers that ever ran; addresses are those to listen on, ports in host order, and
    agents are sent to ``reports_address`` unless that is every address. Certificates are issued
    where there is an ``authority``.
    """

    namespace: str
    service: str
    identity: str
    agent_service_account: str
    reports_address: tuple[str, int]
    http_address: tuple[str, int]
    kubeconfig: Path | None = None
    authority: ControllerAuthorityOptions | None = None


class Controller:
    """One replica. ``run`` ends only by cancellation or by a failure."""

    def __init__(self, options: ControllerOptions) -> None:
        self._options = options
        self._registry = CollectorRegistry()
        self._counters = ControllerCounters(self._registry)
        self._leader: _Leader | None = None
        self._registry.register(
            LeaderCollector(lambda: self._leader.aggregate if self._leader else None)
        )

    async def run(self) -> None:
        """Serve health and metrics, and lead when elected.

        Raises:
            AccessError: there is no way to the API.
            LeadershipLostError: another may lead.
            OSError: an address cannot be listened on.
        """
        options = self._options
        async with KubeClient.load(options.kubeconfig) as api, asyncio.TaskGroup() as tasks:
            application = make_metrics_application(self._registry)
            serving = tasks.create_task(serve(application, options.http_address))
            election = Election(
                api,
                namespace=options.namespace,
                name=options.service,
                identity=options.identity,
            )
            try:
                await election.lead(partial(self._lead, api))
            finally:
                serving.cancel()

    async def _lead(self, api: KubeClient) -> None:
        self._leader = leader = _Leader(api, self._options, self._counters)
        try:
            await leader.run()
        finally:
            self._leader = None


class _Leader:
    """What the replica does that leads."""

    def __init__(
        self, api: KubeClient, options: ControllerOptions, counters: ControllerCounters
    ) -> None:
        self._api = api
        self._options = options
        self._counters = counters
        self.aggregate = Aggregate(time.monotonic())
        self._settled = False
        self._desired: Desired | None = None
        self._outcomes: Mapping[StatusKey, ObjectOutcome] = {}
        self._writer = StatusWriter(api, self._plan, counters.status_written)
        self._events = EventWriter(api, options.identity, counters.event_written)
        self._source = KubernetesSource(
            api, node=_NO_NODE, kinds=judging_kinds(), settings=_settings(options)
        )
        self._objects: dict[str, Reflector[StatusObject]] = {
            kind: Reflector(
                api,
                f"{POLICY_API}/{plural}",
                partial(read_status_object, kind),
                changed=partial(self._objects_changed, kind),
                optional=True,
            )
            for kind, plural in PLURALS.items()
        }
        self._seen: dict[str, Mapping[Any, StatusObject]] = {}

    async def run(self) -> None:
        """Do everything, until cancelled."""
        options = self._options
        identity = make_serving_certificate(options.namespace, options.service)
        account = f"{options.namespace}:{options.agent_service_account}"
        callers = Callers(self._api, account)
        intake = make_intake(self.aggregate, callers, answered=self._counters.report_answered)
        authority = self._make_authority()
        if authority is not None:
            authority.serve_beside(intake, callers, self._counters.certificate_answered)
        entry = LeaderEntry.of(identity.certificate, options.reports_address)
        listening = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                serve(intake, options.reports_address, tls=identity.context, listening=listening)
            )
            tasks.create_task(self._publish(entry, listening))
            if authority is not None:
                tasks.create_task(authority.run())
            for reflector in self._objects.values():
                tasks.create_task(reflector.run())
            tasks.create_task(self._follow_world())
            tasks.create_task(self._tick())
            tasks.create_task(self._writer.run())
            tasks.create_task(self._events.run())

    def _make_authority(self) -> ControllerAuthority | None:
        options = self._options
        if options.authority is None:
            return None
        return ControllerAuthority(
            self._api,
            options.namespace,
            options.service,
            options.authority,
            lambda: self._desired.settings.trust_domain if self._desired else None,
        )

    async def _publish(self, entry: LeaderEntry, listening: asyncio.Event) -> None:
        # Agents come as soon as they can read where to.
        await listening.wait()
        await keep_published(self._api, self._options.namespace, self._options.service, entry)

    async def _follow_world(self) -> None:
        compiler = CachedCompiler(_NO_NODE)
        async for world in self._source.watch():
            self._desired = desired = compiler.compile(world)
            self.aggregate.retain_nodes(world.nodes)
            before = self._outcomes
            self._outcomes = {StatusKey(one.kind, one.key): one for one in desired.outcomes}
            for key in before.keys() | self._outcomes.keys():
                if before.get(key) != self._outcomes.get(key):
                    self._writer.mark(key)
            self._state_findings()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now_seconds = time.monotonic()
            self.aggregate.expire(now_seconds)
            changes = self.aggregate.drain_changes()
            settles = not self._settled and self.aggregate.is_settled(now_seconds)
            if settles:
                self._settled = True
                _log.info("all nodes have reported", nodes=self.aggregate.node_count)
                for key in self._outcomes:
                    self._writer.mark(key)
            for one in changes.objects:
                if one.kind in PLURALS:
                    self._writer.mark(StatusKey(one.kind, ObjectKey(one.namespace, one.name)))
            if changes.findings or settles:
                self._state_findings()

    def _objects_changed(self, kind: str) -> None:
        before, now = self._seen.get(kind, {}), self._objects[kind].items
        self._seen[kind] = now
        for key, one in now.items():
            if before.get(key) != one:
                self._writer.mark(StatusKey(kind, key))

    def _plan(self, key: StatusKey) -> dict[str, Any] | None:
        seen = self._objects[key.kind].items.get(key.key)
        outcome = self._outcomes.get(key)
        if seen is None or outcome is None:
            return None
        tally = self.aggregate.tally(seen.id, seen.generation)
        return plan_status(seen, outcome, tally, settled=self._settled, now_rfc3339=now_rfc3339())

    def _state_findings(self) -> None:
        """What agents have found, and what is found here: that does not wait for any agent."""
        found_here = self._desired.findings if self._desired else ()
        found = {*self.aggregate.findings(), *map(ReportedFinding.of, found_here)}
        self._events.stand(standing_events(sorted(found), self._nodes_with))

    def _nodes_with(self, finding: ReportedFinding, most: int) -> list[str]:
        # Those that report first are not those on which there are Events already.
        return self.aggregate.nodes_with(finding, most) if self._settled else []


def _settings(options: ControllerOptions) -> Settings:
    """Those on which a judgement of policies depends, as agents are given them."""
    authority = options.authority
    if authority is None:
        return Settings(root_namespace=options.namespace)
    return Settings(
        identity=True, trust_domain=authority.trust_domain, root_namespace=options.namespace
    )
