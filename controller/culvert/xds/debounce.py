"""When to push a burst of changes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Debounce:
    """Wait for quiet, but not for ever. Seconds on one monotonic clock."""

    quiet_seconds: float = 0.01
    max_delay_seconds: float = 0.1

    def deadline(self, first: float, last: float) -> float:
        """Return when to push changes of which the first and last came at these times."""
        return min(last + self.quiet_seconds, first + self.max_delay_seconds)
