from __future__ import annotations

import msgspec
from culvert.control.lease import (
    DURATION_SECONDS,
    GIVE_UP_SECONDS,
    Action,
    Lease,
    Observation,
    claimed,
    decide,
    lease_patch,
    new_lease,
    observe,
    released,
)

HELD = Lease("one", DURATION_SECONDS, "t0", "t1", 4)


def test_lease_that_nobody_holds_can_be_acquired() -> None:
    for lease in (Lease(), Lease(holder_identity="")):
        assert decide(Observation(lease, 0.0), "two", 0.0) is Action.ACQUIRE


def test_holder_renews_its_own_even_if_it_is_over() -> None:
    assert decide(Observation(HELD, 0.0), "one", 1000.0) is Action.RENEW


def test_lease_is_over_only_after_its_duration_by_the_watchers_own_clock() -> None:
    seen = observe(None, HELD, 100.0)
    assert decide(seen, "two", 100.0 + DURATION_SECONDS - 0.001) is Action.WAIT
    assert decide(seen, "two", 100.0 + DURATION_SECONDS) is Action.ACQUIRE


def test_lease_that_changes_is_never_taken_over() -> None:
    seen = None
    for now in range(0, 1000, DURATION_SECONDS - 1):
        renewed = msgspec.structs.replace(HELD, renew_time=f"t{now}")
        seen = observe(seen, renewed, float(now))
        assert decide(seen, "two", float(now)) is Action.WAIT


def test_looking_at_an_unchanged_lease_does_not_prolong_it() -> None:
    seen = observe(None, HELD, 0.0)
    for now in range(DURATION_SECONDS):
        seen = observe(seen, HELD, float(now))
    assert decide(seen, "two", float(DURATION_SECONDS)) is Action.ACQUIRE


def test_duration_is_the_one_that_the_holder_wrote() -> None:
    longer = msgspec.structs.replace(HELD, lease_duration_seconds=60)
    assert decide(Observation(longer, 0.0), "two", 59.0) is Action.WAIT


def test_leader_gives_up_before_others_may_take_over() -> None:
    assert GIVE_UP_SECONDS < DURATION_SECONDS


def test_next_holder_counts_a_transition_and_a_renewal_does_not() -> None:
    taken = claimed(HELD, "two", "t9")
    assert taken == Lease("two", DURATION_SECONDS, "t9", "t9", 5)
    assert claimed(taken, "two", "t10") == Lease("two", DURATION_SECONDS, "t9", "t10", 5)


def test_released_lease_can_be_acquired_at_once() -> None:
    seen = observe(Observation(HELD, 0.0), released(HELD, "t2"), 1.0)
    assert decide(seen, "two", 1.0) is Action.ACQUIRE


def test_lease_is_written_only_over_the_version_that_was_read() -> None:
    patch = lease_patch("17", HELD)
    assert patch["metadata"] == {"resourceVersion": "17"}, "labels and annotations stay"
    assert patch["spec"]["holderIdentity"] == "one"


def test_lease_is_created_over_none() -> None:
    made = new_lease("culvert-system", "controller", HELD)
    assert made["metadata"] == {"namespace": "culvert-system", "name": "controller"}
    assert made["spec"]["leaseTransitions"] == 4
