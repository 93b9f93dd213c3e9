"""What identities add to a node: who calls, the tunnels, and the ways to other nodes' pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from culvert.compile.authorization.assignment import Assigned
from culvert.compile.authorization.visibility import unseen_at, unseen_in
from culvert.compile.identities import compile_identities
from culvert.compile.inbound import compile_connection_listener, compile_request_scopes
from culvert.compile.service import ServicePart
from culvert.compile.targets import TargetTable, local_pods
from culvert.compile.tunnel import compile_pod_routes, compile_tunnel
from culvert.model.desired import Resource
from culvert.model.finding import Finding
from culvert.model.key import ObjectKey
from culvert.model.policy import AssignedPolicy
from culvert.model.redirect import (
    Destination,
    DestinationKey,
    ProxyListener,
    address16,
)
from culvert.model.world import World


@dataclass(frozen=True, slots=True)
class MeshPart:
    """What identities add; nothing where the mesh has none.

    ``destinations`` go over those of the pods themselves; ``policies`` are by address of a pod.
    """

    resources: tuple[Resource, ...] = ()
    destinations: Mapping[DestinationKey, Destination] = field(default_factory=dict)
    policies: Mapping[str, Sequence[AssignedPolicy]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def compile_mesh(
    world: World,
    node_addresses: Iterable[str],
    services: Sequence[ServicePart],
    targets: TargetTable,
    assigned: Assigned,
) -> MeshPart:
    """The part of one node. ``world`` has the settings in force.

    ``assigned`` are the policies that are for this node's pods.
    """
    settings = world.settings
    if not settings.identity:
        return MeshPart()
    local = targets.local()
    http_ports = _http_ports(services, {address: target.pod for address, target in local.items()})
    pods = local_pods(local, http_ports)
    destinations = dict(targets.destinations)
    for pod in pods:
        for port_host in pod.http_ports - local[pod.address].excluded_ports:
            key = DestinationKey(address16(pod.address), port_host)
            destinations[key] = Destination(ProxyListener.POD_LOCAL_HTTP)
    policies = {
        address: assigned.get(target.pod, ()) for address, target in local.items() if target.judged
    }
    issuers = [one.issuer for one in settings.token_issuers]
    scopes = (
        scope
        for pod in pods
        if pod.http_ports
        for scope in compile_request_scopes(
            pod.address, pod.http_ports, policies[pod.address], issuers
        )
    )
    resources = (
        compile_identities(world.identity_numbers),
        compile_connection_listener(
            settings, {address: some for address, some in policies.items() if some}
        ),
        *scopes,
        *compile_tunnel(settings, node_addresses),
        compile_pod_routes(pods),
        *(cluster for _, cluster in sorted(targets.clusters.items())),
    )
    judged = {
        local[pod.address].pod: (policies[pod.address], pod.http_ports)
        for pod in pods
        if pod.address in policies
    }
    findings = (
        *(
            one
            for policy in world.authorization_policies.values()
            for one in unseen_in(policy, issuers)
        ),
        *unseen_at(judged),
    )
    in_force = {address: some for address, some in policies.items() if some}
    return MeshPart(resources, destinations, in_force, findings)


def _http_ports(
    services: Iterable[ServicePart], pods: Mapping[str, ObjectKey]
) -> dict[str, frozenset[int]]:
    """Ports by address that speak HTTP; one of which Services say both is opaque.

    Services of other namespaces than the pod's have a say where none of its own has.

    ``pods`` are by address. What a pod speaks at one of its addresses it speaks at the other.
    """
    own: dict[tuple[ObjectKey, int], bool] = {}
    of_others: dict[tuple[ObjectKey, int], bool] = {}
    for part in services:
        for port in part.local_ports:
            key = pods[port.address], port.port_host
            said = own if port.is_own else of_others
            said[key] = said.get(key, True) and port.is_http
    found: dict[ObjectKey, set[int]] = {}
    for (pod, port_host), is_http in {**of_others, **own}.items():
        if is_http:
            found.setdefault(pod, set()).add(port_host)
    return {address: frozenset(found.get(pod, ())) for address, pod in pods.items()}
