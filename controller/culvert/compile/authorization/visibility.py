"""What policies ask that the mesh cannot see; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from culvert.compile.authorization.rules import is_about_http
from culvert.model.codes import POLICY_HALF_SEEN
from culvert.model.finding import Finding, Severity
from culvert.model.key import ObjectKey
from culvert.model.policy import AssignedPolicy, AuthorizationPolicy


def unseen_in(policy: AuthorizationPolicy, issuers: Sequence[str]) -> Iterator[Finding]:
    """Conditions that nothing can meet anywhere; ``issuers`` are those of verified tokens."""
    for index, rule in enumerate(policy.rules):
        for place, condition in enumerate(rule.conditions):
            if condition.key.startswith("request.auth.") and not issuers:
                what = "no token is verified (MeshConfig, spec.tokenIssuers)"
            elif condition.key == "connection.sni":
                what = "the mesh does not look into what pods encrypt themselves"
            else:
                continue
            yield Finding(
                POLICY_HALF_SEEN.id,
                f"AuthorizationPolicy {policy.key}",
                f"spec.rules[{index}].when[{place}].key",
                f"{what}, so {condition.key} never has a value",
                "leave the condition out, or have the application judge",
                Severity.WARNING,
            )


def unseen_at(
    pods: Mapping[ObjectKey, tuple[Sequence[AssignedPolicy], frozenset[int]]],
) -> Iterator[Finding]:
    """Rules about HTTP that are for ports whose connections carry bytes.

    ``pods`` are a node's, each with its policies and its ports that speak HTTP.
    """
    blind: dict[ObjectKey, tuple[AuthorizationPolicy, list[ObjectKey]]] = {}
    for pod, (policies, http_ports) in pods.items():
        for one in policies:
            if one.ports_host is not None and one.ports_host <= http_ports:
                continue
            if one.ports_host is None and http_ports:
                # Its other ports are not known to be used.
                continue
            if any(map(is_about_http, one.policy.rules)):
                blind.setdefault(one.policy.key, (one.policy, []))[1].append(pod)
    for policy, blind_pods in blind.values():
        yield _blind(policy, sorted(blind_pods))


def _blind(policy: AuthorizationPolicy, pods: Sequence[ObjectKey]) -> Finding:
    others = f" and {len(pods) - 1} more of this node" if len(pods) > 1 else ""
    return Finding(
        POLICY_HALF_SEEN.id,
        f"AuthorizationPolicy {policy.key}",
        f"spec.rules[{_first(policy)}]",
        f"it is about requests, and no Service says that pod {pods[0]}{others} speaks HTTP there: "
        "as ALLOW or AUDIT the rule never matches, as DENY it does not look at requests",
        "name the protocol in the Service (appProtocol: http), or leave the HTTP fields out",
        Severity.WARNING,
    )


def _first(policy: AuthorizationPolicy) -> int:
    indices: Iterable[int] = (i for i, rule in enumerate(policy.rules) if is_about_http(rule))
    return next(iter(indices))
