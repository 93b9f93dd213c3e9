"""Policies that callers can get around: on pods that take plain text past the mesh; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from culvert.model.codes import POLICY_NOT_BINDING
from culvert.model.finding import Finding, Severity
from culvert.model.key import ObjectKey
from culvert.model.policy import AssignedPolicy, AuthorizationAction
from culvert.model.redirect import ANY_PORT, DestinationKey, address16


def unbound(
    pods: Mapping[str, Sequence[AssignedPolicy]], strict: Mapping[DestinationKey, bool]
) -> Iterator[Finding]:
    """Policies in force at ports that take plain text.

    ``pods`` are a node's policies by address of the pod, ``strict`` the kernel's entries: whether
    an address takes mutual TLS only, at a port or at all others.
    """
    open_at: dict[ObjectKey, list[str]] = {}
    for address, policies in sorted(pods.items()):
        for one in policies:
            refuses = one.policy.action is not AuthorizationAction.AUDIT and not one.policy.dry_run
            if refuses and not _is_strict(address, one.ports_host, strict):
                open_at.setdefault(one.policy.key, []).append(address)
    for key, addresses in open_at.items():
        others = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
        yield Finding(
            POLICY_NOT_BINDING.id,
            f"AuthorizationPolicy {key}",
            "",
            f"the pod at {addresses[0]}{others} of this node takes plain text from outside the "
            "mesh, which no policy judges",
            "require mutual TLS by a PeerAuthentication with mode STRICT",
            Severity.WARNING,
        )


def _is_strict(
    address: str, ports_host: frozenset[int] | None, strict: Mapping[DestinationKey, bool]
) -> bool:
    key = address16(address)
    whole = strict.get(DestinationKey(key, ANY_PORT), False)
    if ports_host is None:
        return whole
    return all(strict.get(DestinationKey(key, port), whole) for port in ports_host)
