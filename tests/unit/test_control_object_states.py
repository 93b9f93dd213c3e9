from __future__ import annotations

import pytest
from culvert.control.object_states import ObjectStates
from culvert.model.report import ObjectState

PENDING, PROGRAMMED = ObjectState.PENDING, ObjectState.PROGRAMMED
REJECTED = ObjectState.REJECTED


def states(**by_slot: ObjectState) -> ObjectStates:
    """Of generation 1; arguments are ``s<slot>=state``."""
    made = ObjectStates()
    for slot, state in by_slot.items():
        made.put(int(slot[1:]), 1, state, "no" if state is REJECTED else "")
    return made


def test_node_counts_once_in_the_state_that_it_said_last() -> None:
    made = states(s0=PENDING, s3=PENDING)
    made.put(3, 1, PROGRAMMED, "")
    assert (made.count(PENDING), made.count(PROGRAMMED), made.spoken) == (1, 1, 2)


def test_newer_generation_forgets_what_was_said_of_the_older() -> None:
    made = states(s0=PROGRAMMED, s1=REJECTED)
    assert made.put(0, 2, PENDING, "")
    assert (made.generation, made.spoken, made.count(PENDING)) == (2, 1, 1)
    assert made.first_rejection() is None


def test_node_that_is_behind_has_not_spoken_of_the_newest() -> None:
    made = states(s0=PROGRAMMED)
    made.put(1, 2, PROGRAMMED, "")
    assert not made.put(0, 1, PROGRAMMED, "")
    assert made.put(1, 1, PROGRAMMED, ""), "it had, and went back"
    assert (made.generation, made.spoken) == (2, 0)


def test_saying_the_same_again_is_no_news_and_another_reason_is() -> None:
    made = states(s0=PROGRAMMED, s1=REJECTED)
    assert not made.put(0, 1, PROGRAMMED, "")
    assert not made.put(1, 1, REJECTED, "no")
    assert made.put(1, 1, REJECTED, "not so")


@pytest.mark.parametrize("slot", [1, 99])
def test_clearing_what_was_not_said_is_no_news(slot: int) -> None:
    made = states(s0=PROGRAMMED, s2=PROGRAMMED)
    assert not made.clear(slot)
    assert made.spoken == 2


def test_rejection_ends_with_the_next_state_or_the_node() -> None:
    made = states(s5=REJECTED, s2=REJECTED)
    assert made.first_rejection() == (5, "no")
    made.put(5, 1, PROGRAMMED, "")
    assert made.first_rejection() == (2, "no")
    assert made.clear(2)
    assert made.first_rejection() is None
