"""Who leads, by a Lease of the API (``coordination.k8s.io/v1``); pure.

Clocks of different machines are never compared: a lease is over when it has not changed, for as
long as it says, since it was first seen as it is. So do Kubernetes' own components
(``k8s.io/client-go/tools/leaderelection``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import msgspec

DURATION_SECONDS = 15
"""As long after its last renewal does a lease hold."""
GIVE_UP_SECONDS = 10.0
"""A leader that could not renew for so long leads no more: others take over only later."""
RETRY_SECONDS = 2.0
"""Between two renewals, or two looks at another's lease."""


class Action(Enum):
    """What to do about a lease."""

    WAIT = auto()
    """Another leads."""
    ACQUIRE = auto()
    RENEW = auto()


class Lease(msgspec.Struct, frozen=True, rename="camel"):
    """``spec`` of a Lease as it is read; every field may be missing. Times are as written."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """A lease, and when it was first seen as it is (monotonic seconds of this process)."""

    lease: Lease
    since_seconds: float


def observe(before: Observation | None, lease: Lease, now_seconds: float) -> Observation:
    """Take a look at a lease; what has not changed keeps its time."""
    if before is not None and before.lease == lease:
        return before
    return Observation(lease, now_seconds)


def decide(seen: Observation, identity: str, now_seconds: float) -> Action:
    """Return what ``identity`` may do."""
    lease = seen.lease
    if not lease.holder_identity:
        return Action.ACQUIRE
    if lease.holder_identity == identity:
        return Action.RENEW
    duration_seconds = lease.lease_duration_seconds or DURATION_SECONDS
    is_over = now_seconds - seen.since_seconds >= duration_seconds
    return Action.ACQUIRE if is_over else Action.WAIT


def claimed(before: Lease, identity: str, now_rfc3339: str) -> Lease:
    """Return the lease as its next holder, or the same one, writes it."""
    if before.holder_identity == identity:
        return msgspec.structs.replace(before, renew_time=now_rfc3339)
    return Lease(
        holder_identity=identity,
        lease_duration_seconds=DURATION_SECONDS,
        acquire_time=now_rfc3339,
        renew_time=now_rfc3339,
        lease_transitions=(before.lease_transitions or 0) + 1,
    )


def released(before: Lease, now_rfc3339: str) -> Lease:
    """Return the lease as its holder leaves it to whoever comes first."""
    return msgspec.structs.replace(
        before, holder_identity="", lease_duration_seconds=1, renew_time=now_rfc3339
    )


def new_lease(namespace: str, name: str, lease: Lease) -> dict[str, Any]:
    """Return the object to create where there is none."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": namespace, "name": name},
        "spec": msgspec.to_builtins(lease),
    }


def lease_patch(resource_version: str, lease: Lease) -> dict[str, Any]:
    """Return the merge patch that writes ``spec`` over that version alone, and nothing else."""
    return {
        "metadata": {"resourceVersion": resource_version},
        "spec": msgspec.to_builtins(lease),
    }
