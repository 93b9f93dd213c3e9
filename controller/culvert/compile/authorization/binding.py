"""Policies that callers can get around: on pods that take plain text past the mesh; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from culvert.compile.authorization.strangers import Closed, closed_to_strangers
from culvert.model.codes import POLICY_NOT_BINDING
from culvert.model.finding import Finding, Severity
from culvert.model.key import ObjectKey
from culvert.model.policy import AssignedPolicy, AuthorizationAction
from culvert.model.redirect import ANY_PORT, Address16, DestinationKey, address16


def unbound(
    pods: Mapping[str, Sequence[AssignedPolicy]], strict: Mapping[DestinationKey, bool]
) -> Iterator[Finding]:
    """Policies that would refuse callers at ports that take plain text.

    Those are callers of whom nothing is known, and callers that a DENY policy knows by an identity,
    which they can leave behind. ``pods`` are a node's policies by address of the pod, ``strict``
    the kernel's entries: whether an address takes mutual TLS only, at a port or at all others.
    """
    open_at: dict[ObjectKey, list[str]] = {}
    for address, policies in sorted(pods.items()):
        key = address16(address)
        whole = strict.get(DestinationKey(key, ANY_PORT), False)

        def is_strict(port_host: int, key: Address16 = key, whole: bool = whole) -> bool:
            return strict.get(DestinationKey(key, port_host), whole)

        together = closed_to_strangers(policies)
        for one in policies:
            if one.policy.action is AuthorizationAction.AUDIT or one.policy.dry_run:
                continue
            if _is_open(one, together, is_strict, whole=whole):
                open_at.setdefault(one.policy.key, []).append(address)
    for policy, addresses in open_at.items():
        others = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
        yield Finding(
            POLICY_NOT_BINDING.id,
            f"AuthorizationPolicy {policy}",
            "",
            f"the pod at {addresses[0]}{others} of this node takes plain text from outside the "
            "mesh, which no policy judges",
            "require mutual TLS by a PeerAuthentication with mode STRICT",
            Severity.WARNING,
        )


def _is_open(
    one: AssignedPolicy, together: Closed, is_strict: Callable[[int], bool], *, whole: bool
) -> bool:
    own = closed_to_strangers([one])
    if own.is_closed_anywhere:
        return (own.whole and together.whole and not whole) or any(
            own.at(port) and together.at(port) and not is_strict(port)
            for port in {*own.ports, *together.ports}
        )
    if one.policy.action is not AuthorizationAction.DENY:
        return False
    return not whole if one.ports_host is None else not all(map(is_strict, one.ports_host))
