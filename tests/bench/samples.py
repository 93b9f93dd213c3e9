"""Numbers of repeated rounds, and what may be said of them. Pure.

The machine is noisy and its speed drifts, so variants take turns within each round and are
compared round by round: a ratio is the median of the ratios of pairs.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of one variant to another, over the rounds both took part in."""

    spread: Spread

    @property
    def is_noise(self) -> bool:
        """Whether the quartiles of the paired ratios lie on both sides of 1."""
        return self.spread.low <= 1.0 <= self.spread.high


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles, the ends included (as few as one value will do).

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values: nothing was measured")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low, median, high)


def paired_ratio(values: Sequence[float], base: Sequence[float]) -> Ratio:
    """``values`` to ``base``; both in order of rounds.

    Raises:
        ValueError: they are not pairs.
    """
    if len(values) != len(base):
        raise ValueError(f"{len(values)} values and {len(base)} to compare them with")
    return Ratio(spread([one / other for one, other in zip(values, base, strict=True)]))


def turns(variants: Sequence[str], round_number: int) -> list[str]:
    """The order of variants in one round: each has every place in turn."""
    first = round_number % len(variants)
    return [*variants[first:], *variants[:first]]
