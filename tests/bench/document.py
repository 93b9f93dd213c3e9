"""The report of a run as Markdown. Pure: equal results give equal text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.bench.cases import BULK_RATES, NEW_CONNECTIONS, REQUESTS
from tests.bench.control_plane import ControlPlane
from tests.bench.goals import goals, paired, ratio_text
from tests.bench.identity_document import render_identities
from tests.bench.identity_figures import Identities
from tests.bench.idle_cases import IdleCase
from tests.bench.markdown import markdown_table
from tests.bench.propagation_document import render_propagation
from tests.bench.propagation_figures import Propagation
from tests.bench.reports_document import render_reports
from tests.bench.reports_figures import Reports
from tests.bench.results import Results, Row
from tests.bench.samples import spread
from tests.bench.scene import VARIANTS

_PROSE = Path(__file__).parent / "document.md"
_MIB = 2**20


def render(
    results: Results,
    propagation: Propagation | None = None,
    reports: Reports | None = None,
    identities: Identities | None = None,
) -> str:
    """The whole document: the prose of ``document.md`` with the run's tables in their places.

    The parts propagation, reports and identity are runs of their own.
    """
    tables = {
        "machine": markdown_table(("", ""), results.machine.items()),
        "command": f"`{results.command}`",
        "rounds": str(results.rounds),
        "seconds": str(results.seconds),
        "concurrency": str(results.concurrency),
        "goals": _goals(results),
        "requests": _rates(results.rows, REQUESTS),
        "p99": _tails(results, REQUESTS),
        "halting": _rates(results.halting_rows, REQUESTS),
        "bulk": _rates(results.rows, BULK_RATES),
        "new_connections": _rates(results.rows, NEW_CONNECTIONS),
        "idle": _idle(results.idle),
        "control_plane": _control_plane(results.control_plane),
        "propagation": render_propagation(propagation),
        "reports": render_reports(reports),
        "identities": render_identities(identities),
    }
    text = _PROSE.read_text()
    for name, table in tables.items():
        text = text.replace(f"<!-- {name} -->", table)
    return text


def _goals(results: Results) -> str:
    return markdown_table(
        ("Goal", "Rows", "Reached", "Rows that fall short"),
        (
            (
                goal.text,
                str(goal.rows),
                "all" if not goal.missed else f"{goal.rows - len(goal.missed)} of {goal.rows}",
                "; ".join(goal.missed) or "none",
            )
            for goal in goals(results)
        ),
    )


def _rates(measured: Sequence[Row], table: str) -> str:
    rows = [row for row in measured if row.table == table]
    if not rows:
        return "Not measured in this run."
    return markdown_table(
        (f"{rows[0].unit}", *VARIANTS, "d / b", "d / c"),
        (
            (row.name, *_cells(row.rate), _ratio(row.rate, "b"), _ratio(row.rate, "c"))
            for row in rows
        ),
    )


def _tails(results: Results, table: str) -> str:
    rows = [row for row in results.rows if row.table == table and row.p99_ms]
    if not rows:
        return "Not measured in this run."
    return markdown_table(
        ("p99, ms", *VARIANTS, "d / b", "d / c"),
        (
            (row.name, *_cells(row.p99_ms), _ratio(row.p99_ms, "b"), _ratio(row.p99_ms, "c"))
            for row in rows
        ),
    )


def _cells(values: Mapping[str, Sequence[float]]) -> Iterable[str]:
    for variant in VARIANTS:
        if not values.get(variant):
            yield "–"
            continue
        found = spread(values[variant])
        yield f"{_number(found.median)} ({_number(found.low)}–{_number(found.high)})"


def _ratio(values: Mapping[str, Sequence[float]], base: str) -> str:
    ratio = paired(values, "d", base)
    return "–" if ratio is None else f"**{ratio_text(ratio)}**"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _idle(cases: Sequence[IdleCase]) -> str:
    if not cases:
        return "Not measured in this run."
    rows = []
    for case in cases:
        for part in ("proxy_bytes", "kernel_bytes"):
            who = "proxies" if part == "proxy_bytes" else "kernel"
            cells = [
                f"{getattr(case.memory[v], part) / case.connections / 1024:.1f}"
                if v in case.memory
                else "–"
                for v in VARIANTS
            ]
            rows.append((f"{case.server}, {case.connections:,} connections, {who}", *cells))
    return markdown_table(("KiB for each connection", *VARIANTS), rows)


def _control_plane(measured: ControlPlane | None) -> str:
    if measured is None:
        return "Not measured in this run."
    pushed = ", ".join(
        f"{count} response of {kind}" for kind, count in measured.pushed_responses.items()
    )
    libraries = ", ".join(measured.agent_compiler_libraries) or "none"
    return markdown_table(
        ("", ""),
        (
            ("Compiling the whole world", _milliseconds(measured.full_compile_seconds)),
            (
                "Compiling after one endpoint's change",
                _milliseconds(measured.incremental_compile_seconds),
            ),
            (
                "From the manifest's change to Envoy's acknowledgement",
                _milliseconds(measured.change_seconds),
            ),
            ("All resources", _kib(sum(measured.resource_bytes.values()))),
            ("Sent for the change", pushed),
            ("Bytes sent for it", f"{sum(measured.pushed_bytes.values()):,}"),
            ("Agent, resident", _mib(measured.agent_bytes)),
            ("Agent, most ever resident", _mib(measured.agent_peak_bytes)),
            ("Loader, most resident before it ended", _mib(measured.loader_peak_bytes)),
            ("Processes of the agent that stay", str(measured.agent_children)),
            ("LLVM, clang or BCC in the agent", libraries),
            ("Envoy, resident", _mib(measured.envoy_bytes)),
        ),
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _kib(size_bytes: int) -> str:
    return f"{size_bytes / 1024:,.0f} KiB"


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:.0f} MiB"
