"""What a load client prints: a JSON line a second, and a summary."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from culvert.rig.workloads.latency import LatencyHistogram


class Interval:
    """What happened in some stretch of time."""

    def __init__(self) -> None:
        self.latency = LatencyHistogram()
        self.bytes = 0
        self.failures: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        """Successes by who answered, where the client can tell."""

    def document(self) -> dict[str, Any]:
        """Return it as a JSON document; latencies in milliseconds, null without a success."""
        return {
            "requests": self.latency.count,
            "failures": sum(self.failures.values()),
            "p50_ms": _milliseconds(self.latency.percentile_seconds(50)),
            "p99_ms": _milliseconds(self.latency.percentile_seconds(99)),
            "bytes": self.bytes,
            **({"answers": dict(sorted(self.answers.items()))} if self.answers else {}),
            **({"reasons": dict(sorted(self.failures.items()))} if self.failures else {}),
        }


class Report:
    """Collects results; a latency is that of a success, failures are counted by reason."""

    def __init__(self) -> None:
        self.total = Interval()
        self._current = Interval()

    def success(self, seconds: float, body_bytes: int = 0, answered_by: str | None = None) -> None:
        """Count a success."""
        self._current.latency.record(seconds)
        self._current.bytes += body_bytes
        if answered_by is not None:
            self._current.answers[answered_by] += 1

    def failure(self, reason: str) -> None:
        """Count a failure."""
        self._current.failures[reason] += 1

    def interval_line(self, at_seconds: float) -> str:
        """Close the current interval and return its line."""
        done, self._current = self._current, Interval()
        self.total.latency.merge(done.latency)
        self.total.bytes += done.bytes
        self.total.failures.update(done.failures)
        self.total.answers.update(done.answers)
        return json.dumps({"at_s": round(at_seconds, 1), **done.document()})

    def summary_line(self, elapsed_seconds: float) -> str:
        """Return the line about the whole run; call it after the last interval's."""
        document = self.total.document()
        rate = self.total.latency.count / elapsed_seconds if elapsed_seconds > 0 else 0.0
        return json.dumps(
            {
                "summary": True,
                "seconds": round(elapsed_seconds, 3),
                "requests_per_second": round(rate, 1),
                **document,
            }
        )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
