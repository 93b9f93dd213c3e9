"""The picture of a run: every row's variants against the pair of sidecars."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench.results import Results, Row
from tests.bench.samples import paired_ratio

BASE = "b"
LABELS = {
    "a": "direct, no mesh",
    "b": "two sidecars",
    "c": "node Envoy over TCP",
    "d": "node Envoy, accelerated",
}
# Apart for readers who see few colours, too: they differ in lightness and in shape.
_STYLES = {"a": ("#8c8c8c", "D"), "c": ("#e69f00", "s"), "d": ("#0050a0", "o")}
_TICKS = (0.5, 1, 2, 4, 8, 16, 32)


def draw(results: Results, path: Path) -> None:
    """Write an SVG (or a PNG, by the name) of how many times faster than sidecars each is.

    Points are medians of the ratios of pairs, lines reach over their middle half.
    """
    # Equal results give an equal file: no random ids, no date.
    matplotlib.rcParams["svg.hashsalt"] = "culvert"
    rows = [row for row in results.rows if row.rate.get(BASE)]
    figure = Figure(figsize=(9, 1.6 + 0.34 * len(rows)), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        _draw_row(axes, len(rows) - 1 - place, row)
    axes.set_yticks(range(len(rows)), [row.name for row in reversed(rows)])
    axes.set_xscale("log", base=2)
    axes.axvline(1.0, color="black", linewidth=1)
    low, high = axes.get_xlim()
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(y=0.02)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"throughput against {LABELS[BASE]} (the line at 1×); log scale")
    figure.legend(
        handles=[
            axes.plot([], [], marker, color=color, label=LABELS[variant])[0]
            for variant, (color, marker) in _STYLES.items()
        ],
        loc="outside upper right",
        ncols=3,
        frameon=False,
    )
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)


def _draw_row(axes: Axes, y: int, row: Row) -> None:
    for variant, (color, marker) in _STYLES.items():
        if not row.rate.get(variant):
            continue
        ratio = paired_ratio(row.rate[variant], row.rate[BASE]).spread
        axes.plot([ratio.low, ratio.high], [y, y], color=color, linewidth=1.5, alpha=0.6)
        axes.plot([ratio.median], [y], marker, color=color, markersize=6)
