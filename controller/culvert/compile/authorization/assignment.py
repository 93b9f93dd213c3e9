"""Which policies are for which pods of a node, and at which of their ports; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from culvert.model.endpoint import EndpointSlice
from culvert.model.key import ObjectKey
from culvert.model.policy import AssignedPolicy, AuthorizationPolicy, TargetRef
from culvert.model.workload import Workload


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
