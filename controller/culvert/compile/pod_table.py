"""What all pods together add to the maps of a node, put and taken away one pod at a time."""

from __future__ import annotations

from collections.abc import Iterable

from culvert.compile.workload import WorkloadPart
from culvert.model.codes import DUPLICATE_ADDRESS
from culvert.model.finding import Finding
from culvert.model.key import ObjectKey
from culvert.model.redirect import (
    Address16,
    Destination,
    DestinationKey,
    LocalFlag,
    Pod,
    ProxyListener,
    address_text,
)

Destinations = dict[DestinationKey, Destination]


class PodTable:
    """The sum of the parts that it was given, whatever the order in which they came."""

    def __init__(self, parts: Iterable[tuple[ObjectKey, WorkloadPart]] = ()) -> None:
        self._parts: dict[ObjectKey, WorkloadPart] = {}
        # Those that add what only the pod's own node needs: a few of all the cluster's.
        self._of_this_node: dict[ObjectKey, WorkloadPart] = {}
        self._holders: dict[Address16, int] = {}
        self._destinations: Destinations = {}
        self._excluded: Destinations = {}
        self._is_summed = True
        for key, part in parts:
            self.put(key, part)

    def put(self, key: ObjectKey, part: WorkloadPart) -> None:
        """Take a pod's part, in the place of the one that it had."""
        self.remove(key)
        self._parts[key] = part
        if part.cgroup_id or part.local or part.findings:
            self._of_this_node[key] = part
        for address in part.addresses:
            holders = self._holders[address] = self._holders.get(address, 0) + 1
            self._is_summed = self._is_summed and holders == 1
        if self._is_summed:
            self._add(part)

    def remove(self, key: ObjectKey) -> None:
        """Forget a pod's part; one that is not there is fine."""
        part = self._parts.pop(key, None)
        if part is None:
            return
        self._of_this_node.pop(key, None)
        for address in part.addresses:
            left = self._holders.pop(address) - 1
            if left:
                self._holders[address] = left
                self._is_summed = False
        if self._is_summed:
            for destination, _ in part.destinations:
                self._destinations.pop(destination, None)
                self._excluded.pop(destination, None)

    def destinations(self) -> tuple[Destinations, Destinations]:
        """Those that go to the proxy, and those that are left alone; not to be changed.

        Where pods share an address, the last of them by key says where it goes.
        """
        if not self._is_summed:
            self._destinations, self._excluded = {}, {}
            for _, part in sorted(self._parts.items(), key=lambda item: item[0]):
                self._add(part)
            self._is_summed = True
        return self._destinations, self._excluded

    def pods(self) -> dict[int, Pod]:
        """The pods of this node by cgroup id."""
        return dict(part.pod for part in self._ordered() if part.pod)

    def local(self) -> tuple[dict[Address16, LocalFlag], list[Finding]]:
        """The addresses of this node's pods; one that another running pod holds as well is noted.

        Such an address gets no flag: whose it is cannot be known.
        """
        flags: dict[Address16, LocalFlag] = {}
        findings = []
        for part in self._ordered():
            for address, flag in part.local:
                is_alone = self._holders[address] == 1
                flags[address] = flag if is_alone else LocalFlag.NONE
                if not is_alone:
                    findings.append(_claimed_twice(part.subject, address))
        return flags, findings

    def in_mesh(self) -> list[tuple[ObjectKey, WorkloadPart]]:
        """The pods of this node that are in the mesh, in order of their keys."""
        return [(key, part) for key, part in self.of_this_node() if part.pod or part.local]

    def of_this_node(self) -> list[tuple[ObjectKey, WorkloadPart]]:
        """The pods of this node of which anything is known here, in order of their keys."""
        return sorted(self._of_this_node.items(), key=lambda item: item[0])

    def findings(self) -> set[Finding]:
        """What the parts say is wrong with their pods."""
        return {finding for part in self._of_this_node.values() for finding in part.findings}

    def _ordered(self) -> list[WorkloadPart]:
        return [part for _, part in self.of_this_node()]

    def _add(self, part: WorkloadPart) -> None:
        for key, destination in part.destinations:
            is_direct = destination.listener is ProxyListener.DIRECT
            (self._excluded if is_direct else self._destinations)[key] = destination


def _claimed_twice(subject: str, address: Address16) -> Finding:
    return Finding(
        DUPLICATE_ADDRESS.id,
        subject,
        "status.podIPs",
        f"{address_text(address)} is held by another running pod as well",
        "check the network plugin's address allocation",
    )
