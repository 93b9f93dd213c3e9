"""How the pods of the mesh are reached: which go by another node's proxy, which are judged here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from culvert.compile.enrolment import enrol_pod
from culvert.compile.names import ip_version, socket_address_text
from culvert.compile.tunnel import LocalPod, pod_cluster
from culvert.model.desired import Resource
from culvert.model.identity import Identity
from culvert.model.key import ObjectKey
from culvert.model.node import Namespace, Node
from culvert.model.policy import AuthorizationPolicy
from culvert.model.redirect import (
    ANY_PORT,
    Destination,
    DestinationKey,
    ProxyListener,
    address16,
)
from culvert.model.settings import Settings
from culvert.model.workload import Workload
from culvert.model.world import World


@dataclass(frozen=True, slots=True)
class Target:
    """How connections to a pod's address go.

    ``principals`` are the SPIFFE ID of ``pod``, as one of which it must answer there: its own, and
    those under aliases of the trust domain. ``tunnel`` is the address and port of its node's proxy,
    empty for a pod of this node; ``judged`` says of such a pod that policies may be for it.
    Connections to ``excluded_ports`` go to the pod itself.
    """

    principals: tuple[str, ...]
    pod: ObjectKey
    tunnel: str = ""
    judged: bool = False
    excluded_ports: frozenset[int] = frozenset()

    @property
    def principal(self) -> str:
        """The SPIFFE ID of the pod in this mesh."""
        return self.principals[0]

    @property
    def is_local(self) -> bool:
        """Whether the pod is on this node."""
        return not self.tunnel

    def hops(self, port_host: int) -> bool:
        """Whether connections to this port go by a hop inside the proxy."""
        return (bool(self.tunnel) or self.judged) and port_host not in self.excluded_ports


Targets = Mapping[str, Target]
"""By address, in canonical text form."""

NO_TARGETS: Targets = MappingProxyType({})


def targets_of(
    workload: Workload,
    namespace: Namespace | None,
    node_name: str,
    nodes: Mapping[str, Node],
    settings: Settings,
    policies: Iterable[AuthorizationPolicy],
) -> dict[str, Target]:
    """A pod's addresses that are in the mesh; none where the mesh has no identities.

    ``policies`` are those of the pod's namespace. A pod whose node has no address is reached as
    without identities: there is no proxy to ask. So are all of other nodes with ``accept_only``.
    """
    if not settings.identity or not workload.has_own_addresses:
        return {}
    enrolment = enrol_pod(workload, namespace, settings)
    if not enrolment.enrolled:
        return {}
    principals = tuple(
        Identity(domain, workload.namespace, workload.service_account).spiffe_id
        for domain in settings.trust_domains
    )
    excluded = enrolment.excluded_inbound_ports
    if workload.node == node_name:
        judged = any(_may_be_for(policy, workload) for policy in policies)
        target = Target(principals, workload.key, judged=judged, excluded_ports=excluded)
        return dict.fromkeys(workload.addresses, target)
    if settings.accept_only:
        return {}
    node = nodes.get(workload.node)
    found = {}
    for address in workload.addresses:
        tunnel = _tunnel(node, address, settings)
        if tunnel:
            found[address] = Target(principals, workload.key, tunnel, excluded_ports=excluded)
    return found


def identity_of(workload: Workload, settings: Settings) -> Identity:
    """The identity of a pod."""
    return Identity(settings.trust_domain, workload.namespace, workload.service_account)


def principal_of(workload: Workload, settings: Settings) -> str:
    """The SPIFFE ID of a pod."""
    return identity_of(workload, settings).spiffe_id


def local_identities(world: World, node_name: str) -> frozenset[Identity]:
    """The identities of this node's pods that are in the mesh; ``world`` has settings in force."""
    if not world.settings.identity:
        return frozenset()
    return frozenset(
        identity_of(workload, world.settings)
        for workload in world.workloads.values()
        if workload.node == node_name
        and workload.has_own_addresses
        and enrol_pod(workload, world.namespaces.get(workload.namespace), world.settings).enrolled
    )


def _may_be_for(policy: AuthorizationPolicy, workload: Workload) -> bool:
    """Whether a policy of the namespace can be for the pod: more than are is harmless."""
    if policy.selector is not None:
        return policy.selector.items() <= workload.labels.items()
    return True


def _tunnel(node: Node | None, address: str, settings: Settings) -> str:
    if node is None or not node.addresses:
        return ""
    version = ip_version(address)
    same = [one for one in node.addresses if ip_version(one) == version]
    return socket_address_text((same or list(node.addresses))[0], settings.tunnel_port)


class TargetTable:
    """The targets of all pods, put and taken away one pod at a time.

    Of an address that several pods hold, the target is that of the last of them by name; who
    answers there must prove to be it.
    """

    def __init__(self) -> None:
        self.by_address: dict[str, Target] = {}
        self.destinations: dict[DestinationKey, Destination] = {}
        self.clusters: dict[str, Resource] = {}
        self._holders: dict[str, set[str]] = {}
        self._targets_of: dict[str, Mapping[str, Target]] = {}
        self._changed: set[str] = set()

    def put(self, pod: str, targets: Mapping[str, Target]) -> None:
        """Take a pod's targets, in the place of those that it had; ``pod`` is any unique name."""
        before = self._targets_of.pop(pod, {})
        if targets:
            self._targets_of[pod] = targets
        for address in before.keys() - targets.keys():
            self._holders[address].discard(pod)
            self._settle(address)
        for address, target in targets.items():
            if before.get(address) == target:
                continue
            self._holders.setdefault(address, set()).add(pod)
            self._settle(address)

    def take_changes(self) -> set[str]:
        """The addresses whose targets changed since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def local(self) -> dict[str, Target]:
        """The targets on this node."""
        return {a: target for a, target in self.by_address.items() if target.is_local}

    def _settle(self, address: str) -> None:
        holders = self._holders.get(address)
        self._changed.add(address)
        key = DestinationKey(address16(address), ANY_PORT)
        if not holders:
            self._holders.pop(address, None)
            self.by_address.pop(address, None)
            self.destinations.pop(key, None)
            self.clusters.pop(address, None)
            return
        target = self._targets_of[max(holders)][address]
        self.by_address[address] = target
        self.clusters.pop(address, None)
        self.destinations.pop(key, None)
        if target.tunnel:
            self.destinations[key] = Destination(ProxyListener.POD_MESH)
            self.clusters[address] = pod_cluster(address, target.tunnel, target.principals)
        elif target.judged:
            self.destinations[key] = Destination(ProxyListener.POD_LOCAL_TCP)


def local_pods(
    targets: Mapping[str, Target], http_ports: Mapping[str, frozenset[int]]
) -> list[LocalPod]:
    """The pods of this node behind its tunnel; ``http_ports`` by address."""
    return [
        LocalPod(
            address,
            target.principal,
            http_ports.get(address, frozenset()) if target.judged else frozenset(),
        )
        for address, target in targets.items()
    ]
