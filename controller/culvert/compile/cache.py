"""A compiler that remembers: equal to ``compile_node``, and fast when little changed.

Parts are kept per Service and per pod, and compiled anew when an object that they are made from is
another one: one that a source replaced by an equal one is compiled again, to the same bytes.
"""

from __future__ import annotations

from dataclasses import replace

from culvert.compile.changes import changed_keys
from culvert.compile.node import assemble, compile_constant, with_settings_in_force
from culvert.compile.pod_cache import PodCache
from culvert.compile.policies import attach_traffic_policies
from culvert.compile.service_cache import ServiceCache
from culvert.compile.target_cache import TargetCache
from culvert.compile.topology import topology_of
from culvert.model.desired import Desired, Resource
from culvert.model.settings import Settings
from culvert.model.world import World


class CachedCompiler:
    """Compiles worlds for one node, one after another. Not for use by several threads at once."""

    def __init__(self, node_name: str) -> None:
        self.node_name = node_name
        self._settings: Settings | None = None
        self._constant: tuple[Resource, ...] = ()
        self._services = ServiceCache()
        self._pods = PodCache(node_name)
        self._targets = TargetCache(node_name)
        self._desired: Desired | None = None

    def compile(self, world: World) -> Desired:
        """The same answer as ``compile_node(world, self.node_name)``.

        The resources of a type, and the redirect table, are those of the last answer where they
        are equal.
        """
        world = with_settings_in_force(world)
        if world.settings != self._settings:
            self._settings = world.settings
            self._constant = compile_constant(world.settings)
        attachments = attach_traffic_policies(world.traffic_policies, world.services)
        topology = topology_of(world.nodes, self.node_name)
        targets = self._targets.table(world)
        desired = assemble(
            world,
            self.node_name,
            self._services.parts(
                world, topology, attachments, targets.by_address, targets.take_changes()
            ),
            self._pods.table(world),
            self._constant,
            attachments,
            targets,
        )
        self._desired = desired if self._desired is None else _sharing(desired, self._desired)
        return self._desired


def _sharing(desired: Desired, before: Desired) -> Desired:
    """The same, with the very objects of ``before`` where they are equal.

    Who acts on it sees what has not changed without looking into it.
    """
    resources = {
        type_url: now
        if changed_keys(before.resources[type_url], now)
        else before.resources[type_url]
        for type_url, now in desired.resources.items()
    }
    redirect = before.redirect if desired.redirect == before.redirect else desired.redirect
    return replace(desired, resources=resources, redirect=redirect)
