"""When to try again: later and later, never all at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FIRST_SECONDS = 0.5
MAX_SECONDS = 30.0
FORGET_AFTER_SECONDS = 60.0


@dataclass(slots=True)
class Backoff:
    """Delays between tries. ``chance`` gives a number from 0 to 1, as ``random.random`` does.

    A delay is between half and the whole of a limit that doubles with each failure, so that those
    who failed together do not come back together. Time without a failure forgets them; a success
    does not, for one that is followed by a failure at once would come back without end.
    """

    chance: Callable[[], float]
    first_seconds: float = FIRST_SECONDS
    max_seconds: float = MAX_SECONDS
    _failures: int = 0
    _quiet_until_seconds: float = 0.0

    def delay_seconds(self, now_seconds: float, asked_seconds: float | None = None) -> float:
        """The pause after a failure at ``now_seconds``; at least what the server asked for."""
        if now_seconds >= self._quiet_until_seconds:
            self._failures = 0
        # 2**32 times any first delay is beyond any maximum.
        limit = min(self.max_seconds, self.first_seconds * 2.0 ** min(self._failures, 32))
        delay = limit * (0.5 + self.chance() / 2)
        if asked_seconds is not None and asked_seconds > delay:
            delay = asked_seconds + limit * self.chance()
        self._failures += 1
        self._quiet_until_seconds = now_seconds + delay + FORGET_AFTER_SECONDS
        return delay
