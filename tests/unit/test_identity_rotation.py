from __future__ import annotations

from culvert.identity.rotation import (
    EARLIEST_FRACTION,
    LATEST_FRACTION,
    Urgency,
    renewal_seconds,
    retry_seconds,
    urgency,
)
from hypothesis import given
from hypothesis import strategies as st

BEGINS = st.floats(0, 4e9)
LIVES = st.floats(10, 4e8)
PARTS = st.floats(0, 1)


@given(BEGINS, LIVES, PARTS)
def test_renewal_is_between_half_and_two_thirds_of_the_life(
    begins: float, life: float, jitter: float
) -> None:
    at = (renewal_seconds(begins, begins + life, jitter) - begins) / life
    assert EARLIEST_FRACTION - 1e-3 <= at <= LATEST_FRACTION + 1e-3


@given(BEGINS, LIVES, PARTS, PARTS)
def test_more_jitter_is_later(begins: float, life: float, one: float, other: float) -> None:
    first, second = sorted((one, other))
    ends = begins + life
    assert renewal_seconds(begins, ends, first) <= renewal_seconds(begins, ends, second)


@given(st.integers(1, 10_000), LIVES, PARTS)
def test_tries_after_failures_are_seconds_apart_at_first_and_never_far(
    failures: int, life: float, jitter: float
) -> None:
    delay = retry_seconds(failures, life, jitter)
    assert 0.5 <= delay <= max(1.0, min(300.0, life / 20))
    assert delay <= 2.0 ** min(failures - 1, 30)


@given(st.integers(1, 50), LIVES, PARTS)
def test_pauses_only_grow(failures: int, life: float, jitter: float) -> None:
    assert retry_seconds(failures, life, jitter) <= retry_seconds(failures + 1, life, jitter)


@given(BEGINS, LIVES, PARTS)
def test_there_are_several_tries_between_the_renewal_and_the_end(
    begins: float, life: float, jitter: float
) -> None:
    now = renewal_seconds(begins, begins + life, jitter)
    for tries in range(4):
        assert now < begins + life
        now += retry_seconds(tries + 1, life, 1.0)


@given(BEGINS, LIVES, st.lists(st.floats(0, 1.5), min_size=2, max_size=6))
def test_urgency_only_rises(begins: float, life: float, parts: list[float]) -> None:
    levels = [urgency(begins, begins + life, begins + part * life) for part in sorted(parts)]
    assert levels == sorted(levels)


def test_urgency_by_the_part_of_the_life_that_is_over() -> None:
    levels = [urgency(0.0, 240.0, now) for now in (0.0, 160.0, 181.0, 211.0, 239.9, 240.0, 1e9)]
    assert levels == [
        Urgency.FINE,
        Urgency.FINE,
        Urgency.OVERDUE,
        Urgency.ENDING,
        Urgency.ENDING,
        Urgency.EXPIRED,
        Urgency.EXPIRED,
    ]


@given(BEGINS, LIVES, PARTS)
def test_certificate_that_is_renewed_in_time_is_never_urgent(
    begins: float, life: float, jitter: float
) -> None:
    ends = begins + life
    assert urgency(begins, ends, renewal_seconds(begins, ends, jitter)) is Urgency.FINE
