"""Which policies are for which pods of a node, and at which of their ports; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from culvert.compile.authorization.aliases import with_aliases
from culvert.compile.slices import slices_by_service
from culvert.model.endpoint import EndpointSlice
from culvert.model.key import ObjectKey
from culvert.model.policy import AssignedPolicy, AuthorizationPolicy, TargetRef
from culvert.model.workload import Workload
from culvert.model.world import World

Assigned = Mapping[ObjectKey, Sequence[AssignedPolicy]]
"""By pod."""


def assign_all(world: World, pods: Iterable[ObjectKey]) -> Assigned:
    """The policies that are for each of some pods; ``world`` has the settings in force."""
    if not world.settings.identity or not world.authorization_policies:
        return {}
    slices = slices_by_service(world.endpoint_slices)
    of_namespace = {
        namespace: [with_aliases(one, world.settings.trust_domains) for one in some]
        for namespace, some in policies_by_namespace(world).items()
    }
    return {
        pod: assign(of_namespace[pod.namespace], world.workloads[pod], slices)
        for pod in pods
        if pod.namespace in of_namespace
    }


def assign(
    policies: Iterable[AuthorizationPolicy],
    pod: Workload,
    slices: Mapping[ObjectKey, Sequence[EndpointSlice]],
) -> tuple[AssignedPolicy, ...]:
    """Those of the policies of the pod's namespace that are for it.

    One with targets is for the pods behind these Services, at the ports that the Services lead to;
    ``slices`` are by Service.
    """
    found = []
    for policy in policies:
        if policy.selector is not None:
            if policy.selector.items() <= pod.labels.items():
                found.append(AssignedPolicy(policy))
        elif not policy.targets:
            found.append(AssignedPolicy(policy))
        else:
            ports = frozenset(
                port for target in policy.targets for port in _ports_behind(target, pod, slices)
            )
            if ports:
                found.append(AssignedPolicy(policy, ports))
    return tuple(found)


def policies_by_namespace(world: World) -> dict[str, list[AuthorizationPolicy]]:
    """The AuthorizationPolicies of each namespace that has some."""
    grouped: dict[str, list[AuthorizationPolicy]] = {}
    for policy in world.authorization_policies.values():
        grouped.setdefault(policy.namespace, []).append(policy)
    return grouped


def at_port(policies: Iterable[AssignedPolicy], port_host: int) -> tuple[AuthorizationPolicy, ...]:
    """Those that hold at one port."""
    return tuple(
        one.policy for one in policies if one.ports_host is None or port_host in one.ports_host
    )


def _ports_behind(
    target: TargetRef, pod: Workload, slices: Mapping[ObjectKey, Sequence[EndpointSlice]]
) -> Iterable[int]:
    for part in slices.get(ObjectKey(pod.namespace, target.name), ()):
        if any(
            endpoint.target == pod.key or endpoint.addresses[0] in pod.addresses
            for endpoint in part.endpoints
        ):
            yield from (
                port.port_host for port in part.ports if target.section_name in ("", port.name)
            )
