"""Which AuthorizationPolicies are for a pod, and for which of its ports; pure."""

from __future__ import annotations

from collections.abc import Iterable

from culvert.model.policy import AuthorizationPolicy
from culvert.model.workload import Workload
from culvert.model.world import World


def policies_for(world: World, pod: Workload, port_host: int) -> tuple[AuthorizationPolicy, ...]:
    """The policies of the pod's namespace that select it, by key.

    One with targets is for the pods behind these Services, at the ports that the Services lead to.
    """
    return tuple(
        policy
        for _, policy in sorted(world.authorization_policies.items())
        if policy.namespace == pod.namespace and _is_for(world, policy, pod, port_host)
    )


def _is_for(world: World, policy: AuthorizationPolicy, pod: Workload, port_host: int) -> bool:
    if policy.selector is not None:
        return policy.selector.items() <= pod.labels.items()
    if not policy.targets:
        return True
    return any(
        port_host in _ports_behind(world, policy, target.name, target.section_name, pod)
        for target in policy.targets
    )


def _ports_behind(
    world: World, policy: AuthorizationPolicy, service: str, port_name: str, pod: Workload
) -> Iterable[int]:
    """Ports of the pod to which a Service's connections go; an empty name means all its ports."""
    for part in world.endpoint_slices.values():
        if part.namespace != policy.namespace or part.service != service:
            continue
        if any(endpoint.target == pod.key for endpoint in part.endpoints):
            yield from (port.port_host for port in part.ports if port_name in ("", port.name))
