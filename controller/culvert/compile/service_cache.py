"""The parts of the Services of one world after another, compiled where something changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from culvert.compile.changes import changed_keys
from culvert.compile.policies import TrafficAttachments
from culvert.compile.service import ServicePart, compile_service
from culvert.compile.targets import NO_TARGETS, Targets
from culvert.compile.topology import Topology
from culvert.compile.traffic import ServicePolicy
from culvert.model.endpoint import EndpointSlice
from culvert.model.key import ObjectKey
from culvert.model.node import Namespace
from culvert.model.service import Service
from culvert.model.settings import Settings
from culvert.model.world import World


class ServiceCache:
    """Of one node."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._topology: Topology | None = None
        self._parts: dict[ObjectKey, ServicePart] = {}
        self._slices_of: dict[ObjectKey, dict[ObjectKey, EndpointSlice]] = {}
        self._services_at: dict[str, Counter[ObjectKey]] = {}
        self._services: Mapping[ObjectKey, Service] = {}
        self._slices: Mapping[ObjectKey, EndpointSlice] = {}
        self._namespaces: Mapping[str, Namespace] = {}
        self._policies: Mapping[ObjectKey, ServicePolicy] = {}

    def parts(
        self,
        world: World,
        topology: Topology,
        attachments: TrafficAttachments,
        targets: Targets = NO_TARGETS,
        changed_targets: Iterable[str] = (),
    ) -> Sequence[ServicePart]:
        """A part for each of a world's Services, in order of their keys.

        ``world`` has the settings in force; ``changed_targets`` are the addresses whose targets are
        not those of the last call.
        """
        if world.settings != self._settings or topology != self._topology:
            self._forget()
        is_out_of_order = False
        for key in self._stale(world, attachments) | self._leading_to(changed_targets):
            service = world.services.get(key)
            if service is None:
                self._parts.pop(key, None)
                continue
            is_out_of_order = is_out_of_order or key not in self._parts
            self._parts[key] = compile_service(
                service,
                [one for _, one in sorted(self._slices_of.get(key, {}).items())],
                world.namespaces.get(key.namespace),
                topology,
                world.settings,
                attachments.of(key),
                targets,
            )
        if is_out_of_order:
            self._parts = dict(sorted(self._parts.items(), key=lambda item: item[0]))
        self._settings, self._topology = world.settings, topology
        self._services, self._namespaces = world.services, world.namespaces
        self._slices, self._policies = world.endpoint_slices, attachments.by_service
        return tuple(self._parts.values())

    def _stale(self, world: World, attachments: TrafficAttachments) -> set[ObjectKey]:
        stale = changed_keys(self._services, world.services)
        stale |= self._regroup(world.endpoint_slices)
        policies = attachments.by_service
        # By value: attaching is done anew for each world, and there are few policies.
        stale.update(
            key
            for key in policies.keys() | self._policies.keys()
            if policies.get(key) != self._policies.get(key)
        )
        namespaces = changed_keys(self._namespaces, world.namespaces)
        if namespaces:
            stale.update(key for key in world.services if key.namespace in namespaces)
        return stale

    def _regroup(self, slices: Mapping[ObjectKey, EndpointSlice]) -> set[ObjectKey]:
        """Bring the slices of each Service up to date; the Services that this is about."""
        touched = set()
        for key in changed_keys(self._slices, slices):
            have, want = self._slices.get(key), slices.get(key)
            if have is not None:
                touched.add(have.service_key)
                of_service = self._slices_of[have.service_key]
                del of_service[key]
                self._unlink(have)
                if not of_service:
                    del self._slices_of[have.service_key]
            if want is not None:
                touched.add(want.service_key)
                self._slices_of.setdefault(want.service_key, {})[key] = want
                for endpoint in want.endpoints:
                    counts = self._services_at.setdefault(endpoint.addresses[0], Counter())
                    counts[want.service_key] += 1
        return touched

    def _unlink(self, part: EndpointSlice) -> None:
        for endpoint in part.endpoints:
            counts = self._services_at[endpoint.addresses[0]]
            counts[part.service_key] -= 1
            if not counts[part.service_key]:
                del counts[part.service_key]
                if not counts:
                    del self._services_at[endpoint.addresses[0]]

    def _leading_to(self, addresses: Iterable[str]) -> set[ObjectKey]:
        return {key for address in addresses for key in self._services_at.get(address, ())}

    def _forget(self) -> None:
        self._parts, self._slices_of, self._services_at = {}, {}, {}
        self._services, self._slices, self._namespaces, self._policies = {}, {}, {}, {}
