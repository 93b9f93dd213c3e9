"""What policies say of connections that are there; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

from culvert.compile.authorization.assignment import at_port
from culvert.compile.authorization.evaluate import evaluate, may_allow, rehearse
from culvert.compile.authorization.facts import Connection
from culvert.model.key import ObjectKey
from culvert.model.live import LiveConnection
from culvert.model.policy import AssignedPolicy, AuthorizationPolicy

PoliciesByAddress = Mapping[str, Sequence[AssignedPolicy]]


class Remark(StrEnum):
    """What a policy that refuses nothing has to say."""

    AUDITED = "audited"
    WOULD_DENY = "would_deny"


def remarks(
    connection: LiveConnection, policies: PoliciesByAddress
) -> Iterator[tuple[Remark, ObjectKey | None]]:
    """Of a connection that was let in: by which policy; None where no ALLOW policy matches."""
    of_port = _for(connection, policies)
    if not of_port:
        return
    facts = _facts(connection)
    for policy in evaluate(of_port, facts).audited_by:
        yield Remark.AUDITED, policy
    rehearsed = rehearse(of_port, facts)
    if rehearsed is not None and not rehearsed.allowed:
        yield Remark.WOULD_DENY, rehearsed.by[0] if rehearsed.by else None


def refused(
    connections: Iterable[LiveConnection], policies: PoliciesByAddress
) -> list[LiveConnection]:
    """Those that would not be let in now."""
    return [one for one in connections if not _is_allowed(one, policies)]


def _is_allowed(one: LiveConnection, policies: PoliciesByAddress) -> bool:
    of_port = _for(one, policies)
    if one.carries_requests:
        return may_allow(of_port, _facts(one))
    return not of_port or evaluate(of_port, _facts(one)).allowed


def _for(one: LiveConnection, policies: PoliciesByAddress) -> Sequence[AuthorizationPolicy]:
    return at_port(policies.get(one.pod_address, ()), one.pod_port_host)


def _facts(one: LiveConnection) -> Connection:
    return Connection(
        source_address=one.source_address,
        destination_address=one.pod_address,
        destination_port_host=one.pod_port_host,
        principal=one.principal.removeprefix("spiffe://") if "://" in one.principal else "",
    )
