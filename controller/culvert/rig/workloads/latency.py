"""Latencies counted in buckets that grow by 2 %, so that a long run needs little memory."""

from __future__ import annotations

from collections import Counter
from math import exp, log

_BUCKETS_PER_E = 50.0
_SMALLEST_SECONDS = 1e-6


class LatencyHistogram:
    """Counts latencies; percentiles come out within 2 %."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0

    def record(self, seconds: float) -> None:
        """Count one latency; below a microsecond counts as a microsecond."""
        self._counts[
            int(log(max(seconds, _SMALLEST_SECONDS) / _SMALLEST_SECONDS) * _BUCKETS_PER_E)
        ] += 1
        self.count += 1

    def merge(self, other: LatencyHistogram) -> None:
        """Add all that ``other`` counted."""
        self._counts.update(other._counts)
        self.count += other.count

    def percentile_seconds(self, percent: float) -> float | None:
        """Return the latency that ``percent`` of all stay below; None when none was counted."""
        if not self.count:
            return None
        rank = self.count * percent / 100.0
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= rank:
                break
        return _SMALLEST_SECONDS * exp((bucket + 0.5) / _BUCKETS_PER_E)
