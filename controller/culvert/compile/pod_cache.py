"""The table of pods of one world after another, compiled where something changed."""

from __future__ import annotations

from collections.abc import Mapping

from culvert.compile.changes import changed_keys
from culvert.compile.pod_table import PodTable
from culvert.compile.targets import principal_of
from culvert.compile.workload import compile_workload
from culvert.model.key import ObjectKey
from culvert.model.node import Namespace
from culvert.model.settings import Settings
from culvert.model.workload import Workload
from culvert.model.world import World


class PodCache:
    """Of one node. What it gives is good until it is asked again."""

    def __init__(self, node_name: str) -> None:
        self._node_name = node_name
        self._settings: Settings | None = None
        self._table = PodTable()
        self._workloads: Mapping[ObjectKey, Workload] = {}
        self._namespaces: Mapping[str, Namespace] = {}
        self._cgroups: Mapping[str, int] = {}
        self._numbers: Mapping[str, int] = {}

    def table(self, world: World) -> PodTable:
        """The table of a world's pods; ``world`` has the settings in force."""
        if world.settings != self._settings:
            self._forget()
        for key in self._stale(world):
            workload = world.workloads.get(key)
            if workload is None:
                self._table.remove(key)
                continue
            part = compile_workload(
                workload,
                world.namespaces.get(key.namespace),
                self._node_name,
                world.local_cgroups.get(workload.uid),
                world.settings,
                world.identity_numbers,
            )
            self._table.put(key, part)
        self._settings = world.settings
        self._workloads, self._namespaces = world.workloads, world.namespaces
        self._cgroups, self._numbers = world.local_cgroups, world.identity_numbers
        return self._table

    def _stale(self, world: World) -> set[ObjectKey]:
        stale = changed_keys(self._workloads, world.workloads)
        namespaces = changed_keys(self._namespaces, world.namespaces)
        uids = changed_keys(self._cgroups, world.local_cgroups)
        if namespaces or uids:
            stale.update(
                key
                for key, workload in world.workloads.items()
                if key.namespace in namespaces or workload.uid in uids
            )
        principals = changed_keys(self._numbers, world.identity_numbers)
        if principals:
            stale.update(
                key
                for key, workload in world.workloads.items()
                if workload.node == self._node_name
                and principal_of(workload, world.settings) in principals
            )
        return stale

    def _forget(self) -> None:
        self._table = PodTable()
        self._workloads, self._namespaces, self._cgroups, self._numbers = {}, {}, {}, {}
