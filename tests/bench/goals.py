"""What the mesh should reach, held against what a run measured. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean

from tests.bench.cases import BULK_RATES, NEW_CONNECTIONS, REQUESTS
from tests.bench.results import Results, Row
from tests.bench.samples import Ratio, paired_ratio

_SMALL_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal. ``missed`` names the rows that fall short, with what they reached."""

    text: str
    rows: int
    missed: list[str]


def goals(results: Results) -> list[Goal]:
    """Every goal for which there are rows."""
    small = [row for row in results.rows if row.size_bytes == _SMALL_BYTES]
    requests = [row for row in small if row.table == REQUESTS]
    checks = [
        _rate_goal("d / b ≥ 2.5 at 16 connections, 1 KiB", _at(requests, 16), "b", 2.5),
        _rate_goal("d / b ≥ 1.6 at one connection, 1 KiB", _at(requests, 1), "b", 1.6),
        *_small_message_goals([row for row in small if row.table != NEW_CONNECTIONS]),
        _rate_goal("d / c ≥ 1.0 in every row", results.rows, "c", 1.0),
        _goal(
            "p99 of d no higher than of c",
            [row for row in results.rows if row.table != BULK_RATES],
            lambda row: paired(row.p99_ms, "d", "c"),
            lambda ratio: ratio.spread.median <= 1.0,
        ),
    ]
    return [goal for goal in checks if goal.rows]


def _small_message_goals(rows: Sequence[Row]) -> list[Goal]:
    """As a whole, by the geometric mean, and row by row."""
    what = "d / c ≥ 1.2 for small messages: 1 KiB bodies on kept connections, 1 KiB writes"
    ratios = [ratio.spread.median for row in rows if (ratio := paired(row.rate, "d", "c"))]
    if not ratios:
        return []
    mean = geometric_mean(ratios)
    missed = [] if mean >= 1.2 else ["the mean"]
    return [
        Goal(f"{what}; their geometric mean is {mean:.2f}", len(ratios), missed),
        _rate_goal("the same in each of these rows", rows, "c", 1.2),
    ]


def paired(values: Mapping[str, Sequence[float]], variant: str, base: str) -> Ratio | None:
    """The ratio of two variants; none where either was not measured."""
    if not values.get(variant) or not values.get(base):
        return None
    return paired_ratio(values[variant], values[base])


def ratio_text(ratio: Ratio) -> str:
    """``2.61``, and ``1.02 ≈`` for one inside the noise."""
    return f"{ratio.spread.median:.2f}" + (" ≈" if ratio.is_noise else "")


def _at(rows: Sequence[Row], connections: int) -> list[Row]:
    return [row for row in rows if row.connections == connections]


def _rate_goal(text: str, rows: Sequence[Row], base: str, least: float) -> Goal:
    return _goal(
        text,
        rows,
        lambda row: paired(row.rate, "d", base),
        lambda ratio: ratio.spread.median >= least,
    )


def _goal(
    text: str,
    rows: Sequence[Row],
    ratio_of: Callable[[Row], Ratio | None],
    is_met: Callable[[Ratio], bool],
) -> Goal:
    measured = [(row, ratio) for row in rows if (ratio := ratio_of(row)) is not None]
    missed = [f"{row.name}: {ratio_text(ratio)}" for row, ratio in measured if not is_met(ratio)]
    return Goal(text, len(measured), missed)
