"""A compiler that remembers: equal to ``compile_node``, and fast when little changed.

Parts are kept per Service and per pod, keyed by the identity of the objects they were made from;
an object that a source replaced by an equal one is compiled anew, to the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from culvert.compile.node import (
    assemble,
    compile_constant,
    slices_by_service,
    with_settings_in_force,
)
from culvert.compile.policies import TrafficAttachments, attach_traffic_policies
from culvert.compile.service import ServicePart, compile_service
from culvert.compile.topology import Topology, topology_of
from culvert.compile.traffic import ServicePolicy
from culvert.compile.workload import WorkloadPart, compile_workload
from culvert.model.desired import Desired, Resource
from culvert.model.endpoint import EndpointSlice
from culvert.model.key import ObjectKey
from culvert.model.node import Namespace
from culvert.model.service import Service
from culvert.model.settings import Settings
from culvert.model.workload import Workload
from culvert.model.world import World


@dataclass(frozen=True, slots=True)
class _ServiceEntry:
    service: Service
    slices: Sequence[EndpointSlice]
    namespace: Namespace | None
    policy: ServicePolicy
    part: ServicePart

    def is_made_from(
        self,
        service: Service,
        slices: Sequence[EndpointSlice],
        namespace: Namespace | None,
        policy: ServicePolicy,
    ) -> bool:
        return (
            self.service is service
            and self.namespace is namespace
            # By value: attaching is done anew for each world, and there are few policies.
            and self.policy == policy
            and len(self.slices) == len(slices)
            and all(have is want for have, want in zip(self.slices, slices, strict=True))
        )


@dataclass(frozen=True, slots=True)
class _WorkloadEntry:
    workload: Workload
    namespace: Namespace | None
    cgroup_id: int | None
    part: WorkloadPart

    def is_made_from(
        self, workload: Workload, namespace: Namespace | None, cgroup_id: int | None
    ) -> bool:
        return (
            self.workload is workload
            and self.namespace is namespace
            and self.cgroup_id == cgroup_id
        )


class CachedCompiler:
    """Compiles worlds for one node, one after another. Not for use by several threads at once."""

    def __init__(self, node_name: str) -> None:
        self.node_name = node_name
        self._settings: Settings | None = None
        self._topology: Topology | None = None
        self._constant: tuple[Resource, ...] = ()
        self._services: dict[ObjectKey, _ServiceEntry] = {}
        self._workloads: dict[ObjectKey, _WorkloadEntry] = {}

    def compile(self, world: World) -> Desired:
        """The same answer as ``compile_node(world, self.node_name)``."""
        world = with_settings_in_force(world)
        if world.settings != self._settings:
            self._settings = world.settings
            self._constant = compile_constant(world.settings)
            self._services = {}
            self._workloads = {}
        topology = topology_of(world.nodes, self.node_name)
        if topology != self._topology:
            self._topology = topology
            self._services = {}
        attachments = attach_traffic_policies(world.traffic_policies, world.services)
        self._services = self._compile_services(world, topology, attachments)
        self._workloads = self._compile_workloads(world)
        return assemble(
            world,
            self.node_name,
            [entry.part for entry in self._services.values()],
            [entry.part for entry in self._workloads.values()],
            self._constant,
            attachments,
        )

    def _compile_services(
        self, world: World, topology: Topology, attachments: TrafficAttachments
    ) -> dict[ObjectKey, _ServiceEntry]:
        by_service = slices_by_service(world.endpoint_slices)
        entries = {}
        for key, service in sorted(world.services.items()):
            slices = by_service.get(key, ())
            namespace = world.namespaces.get(key.namespace)
            policy = attachments.of(key)
            entry = self._services.get(key)
            if entry is None or not entry.is_made_from(service, slices, namespace, policy):
                part = compile_service(service, slices, namespace, topology, world.settings, policy)
                entry = _ServiceEntry(service, slices, namespace, policy, part)
            entries[key] = entry
        return entries

    def _compile_workloads(self, world: World) -> dict[ObjectKey, _WorkloadEntry]:
        entries = {}
        for key, workload in sorted(world.workloads.items()):
            namespace = world.namespaces.get(key.namespace)
            cgroup_id = world.local_cgroups.get(workload.uid)
            entry = self._workloads.get(key)
            if entry is None or not entry.is_made_from(workload, namespace, cgroup_id):
                part = compile_workload(
                    workload, namespace, self.node_name, cgroup_id, world.settings
                )
                entry = _WorkloadEntry(workload, namespace, cgroup_id, part)
            entries[key] = entry
        return entries
