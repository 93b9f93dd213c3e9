"""Live connections against policies that have changed; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from culvert.compile.authorization.assignment import at_port
from culvert.compile.authorization.evaluate import evaluate
from culvert.compile.authorization.facts import Connection
from culvert.model.live import LiveConnection
from culvert.model.policy import AssignedPolicy

PoliciesByAddress = Mapping[str, Sequence[AssignedPolicy]]


def refused(
    connections: Iterable[LiveConnection], policies: PoliciesByAddress
) -> list[LiveConnection]:
    """Those that would not be let in now."""
    return [one for one in connections if not _is_allowed(one, policies)]


def _is_allowed(one: LiveConnection, policies: PoliciesByAddress) -> bool:
    of_pod = policies.get(one.pod_address)
    if not of_pod:
        return True
    facts = Connection(
        source_address=one.source_address,
        destination_address=one.pod_address,
        destination_port_host=one.pod_port_host,
        principal=one.principal.removeprefix("spiffe://") if "://" in one.principal else "",
    )
    return evaluate(at_port(of_pod, one.pod_port_host), facts).allowed
