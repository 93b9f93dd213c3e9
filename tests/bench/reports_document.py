"""The table of the part about reports as Markdown. Pure."""

from __future__ import annotations

from tests.bench.markdown import markdown_table
from tests.bench.propagation_document import NOT_MEASURED
from tests.bench.reports_figures import PhaseFigures, Reports

_MIB = 2**20
_HEAD = (
    "",
    "bytes each",
    "reports/s",
    "processor time for 1,000",
    "most resident",
    "counted after",
)


def render_reports(measured: Reports | None) -> str:
    """One row for each way to report, the memory, and what was measured on what."""
    if measured is None:
        return NOT_MEASURED
    machine = ", ".join(f"{name} {value}" for name, value in measured.machine.items())
    return "\n".join(
        (
            markdown_table(_HEAD, map(_row, measured.phases)),
            "",
            f"{measured.nodes:,} nodes, each with {measured.objects} objects and "
            f"{measured.findings} findings. The intake, resident: "
            f"{measured.empty_bytes / _MIB:.0f} MiB before the first report, "
            f"{measured.full_bytes / _MIB:.0f} MiB when all nodes are known. {machine}.",
            "",
            f"Command: `{measured.command}`.",
        )
    )


def _row(phase: PhaseFigures) -> tuple[str, ...]:
    settling = phase.settling_seconds
    return (
        phase.name,
        f"{phase.report_bytes:,}",
        f"{phase.per_second:,.0f}",
        f"{phase.cpu_seconds_per_1000:.2f} s",
        f"{phase.peak_bytes / _MIB:.0f} MiB",
        "–" if settling is None else f"{settling:.2f} s",
    )
