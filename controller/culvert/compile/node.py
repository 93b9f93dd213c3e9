"""Putting one node together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import msgspec

from culvert.compile.authorization.assignment import assign_all
from culvert.compile.authorization.binding import unbound
from culvert.compile.clusters import compile_pod_clusters
from culvert.compile.enrolment import check_namespace
from culvert.compile.inbound import compile_inbound
from culvert.compile.listeners import compile_listeners
from culvert.compile.mesh import compile_mesh
from culvert.compile.mesh_settings import settings_in_force
from culvert.compile.outcomes import Claims, judge
from culvert.compile.packing import RESOURCE_TYPES
from culvert.compile.pod_table import PodTable
from culvert.compile.policies import TrafficAttachments, attach_traffic_policies
from culvert.compile.redirect import compile_redirect, settle_claims
from culvert.compile.service import Claim, ServicePart, compile_service
from culvert.compile.slices import slices_by_service
from culvert.compile.strict import compile_strict
from culvert.compile.target_cache import TargetCache
from culvert.compile.targets import TargetTable
from culvert.compile.topology import topology_of
from culvert.compile.workload import compile_workload
from culvert.model.desired import Desired, Resource
from culvert.model.settings import Settings
from culvert.model.world import World


def compile_node(world: World, node_name: str) -> Desired:
    """What the node should hold.

    Pure and total: equal worlds give equal bytes whatever the order of their mappings, and no
    content of an object makes it raise; what cannot take effect is a finding.
    """
    world = with_settings_in_force(world)
    topology = topology_of(world.nodes, node_name)
    attachments = attach_traffic_policies(world.traffic_policies, world.services)
    slices = slices_by_service(world.endpoint_slices)
    targets = TargetCache(node_name).table(world)
    services = [
        compile_service(
            service,
            slices.get(key, ()),
            world.namespaces.get(key.namespace),
            topology,
            world.settings,
            attachments.of(key),
            targets.by_address,
        )
        for key, service in sorted(world.services.items())
    ]
    pods = PodTable(
        (
            key,
            compile_workload(
                workload,
                world.namespaces.get(key.namespace),
                node_name,
                world.local_cgroups.get(workload.uid),
                world.settings,
                world.identity_numbers,
            ),
        )
        for key, workload in sorted(world.workloads.items())
    )
    constant = compile_constant(world.settings)
    return assemble(world, node_name, services, pods, constant, attachments, targets)


def with_settings_in_force(world: World) -> World:
    """The world with the MeshConfig in its settings."""
    settings = settings_in_force(world.settings, world.mesh_config)
    return (
        world if settings is world.settings else msgspec.structs.replace(world, settings=settings)
    )


def compile_constant(settings: Settings) -> tuple[Resource, ...]:
    """The resources that no object of the cluster changes."""
    constant = (*compile_listeners(settings), *compile_pod_clusters(settings))
    return (*constant, *compile_inbound(settings)) if settings.identity else constant


def assemble(
    world: World,
    node_name: str,
    services: Sequence[ServicePart],
    pods: PodTable,
    constant: Sequence[Resource],
    attachments: TrafficAttachments,
    targets: TargetTable,
) -> Desired:
    """Put parts together and settle their conflicts; ``services`` are in order of their keys.

    ``world`` has the settings in force, and ``services`` a part for each of its Services.
    """
    claims, conflicts = settle_claims(services)
    node = world.nodes.get(node_name)
    node_addresses = node.addresses if node else ()
    assigned = assign_all(world, (key for key, _ in pods.in_mesh()))
    mesh = compile_mesh(world, node_addresses, services, targets, assigned)
    strict = compile_strict(world, pods, assigned)
    redirect, redirect_findings = compile_redirect(
        claims,
        services,
        pods,
        world.settings,
        node_addresses,
        mesh.destinations,
        strict.entries,
        strict.pods,
    )
    resources: dict[str, dict[str, Resource]] = {type_url: {} for type_url in RESOURCE_TYPES}
    for resource in chain(constant, mesh.resources, *(claim.resources for claim in claims)):
        resources[resource.type_url][resource.name] = resource
    findings = {
        *world.findings,
        *conflicts,
        *redirect_findings,
        *pods.findings(),
        *mesh.findings,
        *unbound(mesh.policies, strict.entries),
    }
    for part in services:
        findings.update(part.findings)
    for namespace in world.namespaces.values():
        findings.update(check_namespace(namespace))
    outcomes, policy_findings = judge(
        world, attachments, _claims_by_service(world, services, claims), strict
    )
    findings.update(policy_findings)
    return Desired(
        resources, redirect, tuple(sorted(findings)), world.settings, outcomes, mesh.policies
    )


def _claims_by_service(
    world: World, services: Sequence[ServicePart], granted: Iterable[Claim]
) -> Claims:
    if not world.traffic_policies:
        return {}
    in_force = {id(claim) for claim in granted}
    return {
        key: [(claim.port_name, claim) for claim in part.virtual if id(claim) in in_force]
        for key, part in zip(sorted(world.services), services, strict=True)
        if part.virtual
    }
