"""A model of one direction of a connection: two queues, of which redirected bytes are read first.

The kernel gives exactly this (``tcp_bpf_recvmsg`` empties its own queue before TCP's). Whatever the
interleaving of sends, deliveries, acknowledgements and reads, the decision must keep the order.
"""

from __future__ import annotations

import ctypes
from collections import deque
from ctypes import byref
from enum import Enum, auto

from culvert.redirect.abi import Config, Verdict
from hypothesis import find, given, settings
from hypothesis import strategies as st

from tests.bpf_host.library import SendFacts


class Event(Enum):
    """What may happen next."""

    SEND = auto()
    DELIVER = auto()
    ACKNOWLEDGE = auto()
    READ = auto()
    READ_ONE = auto()


class Direction:
    """Sequence numbers wrap, and start anywhere."""

    def __init__(self, decide: ctypes.CDLL | None, first_sequence: int) -> None:
        self._decide = decide
        self._config = Config(flags=1, max_redirect_bytes=8, budget_bytes=4)
        self._write = self._una = self._received = self._copied = first_sequence
        self._on_the_wire: deque[int] = deque()
        self._tcp_queue: deque[int] = deque()
        self._redirected: deque[int] = deque()
        self._next_byte = 0
        self.read: list[int] = []

    def _redirects(self) -> bool:
        if self._decide is None:
            return True
        facts = SendFacts(
            1, self._write, self._una, self._received, self._copied, len(self._redirected)
        )
        answer = self._decide.cv_decide_send(byref(self._config), byref(facts))
        return Verdict(answer) is Verdict.SEND_REDIRECTED

    def step(self, event: Event) -> None:
        if event is Event.SEND:
            queue = self._redirected if self._redirects() else self._on_the_wire
            queue.append(self._next_byte)
            if queue is self._on_the_wire:
                self._write = (self._write + 1) % 2**32
            self._next_byte += 1
        elif event is Event.DELIVER and self._on_the_wire:
            self._tcp_queue.append(self._on_the_wire.popleft())
            self._received = (self._received + 1) % 2**32
        elif event is Event.ACKNOWLEDGE:
            self._una = self._received
        elif event is Event.READ_ONE:
            self._read_one()
        elif event is Event.READ:
            while self._read_one():
                pass

    def _read_one(self) -> bool:
        if self._redirected:
            self.read.append(self._redirected.popleft())
            return True
        if self._tcp_queue:
            self.read.append(self._tcp_queue.popleft())
            self._copied = (self._copied + 1) % 2**32
            return True
        return False

    def in_order(self) -> bool:
        return self.read == list(range(len(self.read)))


events = st.lists(st.sampled_from(Event), max_size=60)


def runs_in_order(direction: Direction, happening: list[Event]) -> bool:
    """Also with a switch to TCP in between: acceleration is forced off for a while at the start."""
    for event in happening:
        direction.step(event)
    direction.step(Event.READ)
    return direction.in_order()


class FlappingDirection(Direction):
    """Acceleration goes off and on with every third event."""

    _count = 0

    def step(self, event: Event) -> None:
        self._count += 1
        self._config.flags = int(self._count % 3 != 0)
        super().step(event)


@settings(max_examples=400)
@given(happening=events, first=st.sampled_from([0, 5, 2**32 - 3]))
def test_no_interleaving_breaks_the_order(
    decide: ctypes.CDLL, happening: list[Event], first: int
) -> None:
    assert runs_in_order(Direction(decide, first), happening)


@settings(max_examples=400)
@given(happening=events, first=st.sampled_from([0, 2**32 - 3]))
def test_no_interleaving_breaks_the_order_while_acceleration_flaps(
    decide: ctypes.CDLL, happening: list[Event], first: int
) -> None:
    assert runs_in_order(FlappingDirection(decide, first), happening)


class NaiveDirection(FlappingDirection):
    """Redirects whenever acceleration is on, as the examples do that others copied."""

    def _redirects(self) -> bool:
        return bool(self._config.flags)


def test_the_model_can_tell_for_the_naive_switch_breaks_the_order() -> None:
    broken = find(events, lambda happening: not runs_in_order(NaiveDirection(None, 0), happening))
    assert Event.SEND in broken
