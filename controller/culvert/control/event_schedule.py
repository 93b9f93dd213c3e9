"""When each Event is to be said: each on its own, whatever becomes of the others; pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from culvert.control.event_key import EventKey
from culvert.kube.backoff import Backoff

REFRESH_SECONDS = 1800.0
"""A finding that stands is said again after so long: servers forget Events after an hour."""

MAX_RETRY_SECONDS = 300.0
"""Between two tries of one Event at most; those that fail leave most of the rate to the others."""


@dataclass(slots=True)
class _Turn:
    not_before_seconds: float
    was_said: bool
    backoff: Backoff


class EventSchedule:
    """All times are of one monotonic clock; ``chance`` is as for ``Backoff``."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._turns: dict[EventKey, _Turn] = {}

    def retain(self, standing: Collection[EventKey]) -> None:
        """Forget all others; one that stands again later is new."""
        self._turns = {key: turn for key, turn in self._turns.items() if key in standing}

    def is_due(self, key: EventKey, now_seconds: float) -> bool:
        """Whether an Event that stands is to be said now."""
        turn = self._turns.get(key)
        return turn is None or turn.not_before_seconds <= now_seconds

    def was_said(self, key: EventKey) -> bool:
        """Whether it has been said since it stands."""
        turn = self._turns.get(key)
        return turn is not None and turn.was_said

    def said(self, key: EventKey, now_seconds: float) -> None:
        """Note that it is said, or cannot be: again when it has stood for long."""
        turn = self._turn(key)
        turn.was_said = True
        turn.not_before_seconds = now_seconds + REFRESH_SECONDS

    def failed(self, key: EventKey, now_seconds: float, asked_seconds: float | None) -> None:
        """Note that it is to be tried again, no sooner than the server asked for."""
        turn = self._turn(key)
        delay_seconds = turn.backoff.delay_seconds(now_seconds, asked_seconds)
        turn.not_before_seconds = now_seconds + delay_seconds

    def next_seconds(self, standing: Collection[EventKey]) -> float | None:
        """When the next of those that stand is due; None where none stands."""
        turns = (self._turns.get(key) for key in standing)
        return min((turn.not_before_seconds if turn else 0.0 for turn in turns), default=None)

    def _turn(self, key: EventKey) -> _Turn:
        turn = self._turns.get(key)
        if turn is None:
            backoff = Backoff(self._chance, max_seconds=MAX_RETRY_SECONDS)
            turn = self._turns[key] = _Turn(0.0, was_said=False, backoff=backoff)
        return turn
