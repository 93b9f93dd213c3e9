"""The targets of one world after another, compiled where something changed."""

from __future__ import annotations

from collections.abc import Mapping

from culvert.compile.authorization.assignment import policies_by_namespace
from culvert.compile.changes import changed_keys
from culvert.compile.targets import TargetTable, targets_of
from culvert.model.key import ObjectKey
from culvert.model.node import Namespace, Node
from culvert.model.policy import AuthorizationPolicy
from culvert.model.settings import Settings
from culvert.model.workload import Workload
from culvert.model.world import World


class TargetCache:
    """Of one node. What it gives is good until it is asked again."""

    def __init__(self, node_name: str) -> None:
        self._node_name = node_name
        self._settings: Settings | None = None
        self._table = TargetTable()
        self._workloads: Mapping[ObjectKey, Workload] = {}
        self._namespaces: Mapping[str, Namespace] = {}
        self._nodes: Mapping[str, Node] = {}
        self._policies: Mapping[ObjectKey, AuthorizationPolicy] = {}

    def table(self, world: World) -> TargetTable:
        """The targets of a world; ``world`` has the settings in force."""
        if world.settings != self._settings:
            for key in self._workloads:
                self._table.put(str(key), {})
            self._workloads = {}
            self._settings = world.settings
        if not world.settings.identity:
            return self._table
        policies = policies_by_namespace(world)
        for key in sorted(self._stale(world)):
            workload = world.workloads.get(key)
            targets = (
                targets_of(
                    workload,
                    world.namespaces.get(key.namespace),
                    self._node_name,
                    world.nodes,
                    world.settings,
                    policies.get(key.namespace, ()),
                )
                if workload
                else {}
            )
            self._table.put(str(key), targets)
        self._workloads, self._namespaces = world.workloads, world.namespaces
        self._nodes, self._policies = world.nodes, world.authorization_policies
        return self._table

    def _stale(self, world: World) -> set[ObjectKey]:
        stale = changed_keys(self._workloads, world.workloads)
        nodes = changed_keys(self._nodes, world.nodes)
        namespaces = changed_keys(self._namespaces, world.namespaces)
        namespaces |= {
            key.namespace for key in changed_keys(self._policies, world.authorization_policies)
        }
        if nodes or namespaces:
            stale.update(
                key
                for key, workload in world.workloads.items()
                if key.namespace in namespaces or workload.node in nodes
            )
        return stale
