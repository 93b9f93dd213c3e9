"""The tables of the part about identities as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench.identity_figures import Identities, IdentityRow
from tests.bench.markdown import markdown_table
from tests.bench.propagation_document import NOT_MEASURED
from tests.bench.samples import paired_ratio, spread

_TITLES = (
    ("cross", "Between two nodes", (("mutual", "sidecars"), ("mutual", "plain"))),
    ("same", "On one node", (("mutual", "sidecars"), ("l4", "mutual"), ("l7", "mutual"))),
    ("handshakes", "New TLS connections", (("mutual", "sidecars"),)),
    ("counts", "By number of policies", (("policies-1000", "mutual"),)),
)


def render_identities(measured: Identities | None) -> str:
    """Throughput and latency of each group of rows, and what was measured on what."""
    if measured is None:
        return NOT_MEASURED
    parts = []
    for table, title, ratios in _TITLES:
        rows = [row for row in measured.rows if row.table == table]
        if rows:
            parts += [f"### {title}", "", _rates(rows, ratios), ""]
            if any(row.p50_ms for row in rows):
                parts += [_latencies(rows), ""]
    machine = ", ".join(f"{name} {value}" for name, value in measured.machine.items())
    parts.append(f"{measured.rounds} rounds of {measured.seconds} s each. {machine}.")
    parts += ["", f"Command: `{measured.command}`."]
    return "\n".join(parts)


def _rates(rows: Sequence[IdentityRow], ratios: Sequence[tuple[str, str]]) -> str:
    ways = list(dict.fromkeys(way for row in rows for way in row.rate))
    head = ("each second", *ways, *(f"{one} / {base}" for one, base in ratios))
    return markdown_table(
        head,
        (
            (
                row.name,
                *(_median(row.rate, way, "{:,.0f}") for way in ways),
                *(_ratio(row.rate, one, base) for one, base in ratios),
            )
            for row in rows
        ),
    )


def _latencies(rows: Sequence[IdentityRow]) -> str:
    ways = list(dict.fromkeys(way for row in rows for way in row.rate))
    return markdown_table(
        ("p50 / p99, ms", *ways),
        (
            (
                row.name,
                *(
                    f"{_median(row.p50_ms, way, '{:.3g}')} / {_median(row.p99_ms, way, '{:.3g}')}"
                    if way in row.p50_ms
                    else "–"
                    for way in ways
                ),
            )
            for row in rows
        ),
    )


def _median(values: Mapping[str, Sequence[float]], way: str, form: str) -> str:
    return form.format(spread(values[way]).median) if values.get(way) else "–"


def _ratio(values: Mapping[str, Sequence[float]], one: str, base: str) -> str:
    if not values.get(one) or not values.get(base):
        return "–"
    ratio = paired_ratio(values[one], values[base])
    return f"**{ratio.spread.median:.2f}**" + (" ≈" if ratio.is_noise else "")
