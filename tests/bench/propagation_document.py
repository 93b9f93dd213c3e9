"""The tables of the propagation part as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tests.bench.markdown import markdown_table
from tests.bench.propagation_figures import KINDS, Propagation, WorldFigures, percentile

_MIB = 2**20
NOT_MEASURED = "Not measured in this run."

Row = tuple[str, Callable[[WorldFigures], str]]


def render_propagation(measured: Propagation | None) -> str:
    """One column for each world, and what was measured on what."""
    if measured is None:
        return NOT_MEASURED
    worlds = measured.worlds
    head = ("", *(f"{one.services:,} Services" for one in worlds))
    changes = len(worlds[0].delays_seconds[KINDS[0]])
    machine = ", ".join(f"{name} {value}" for name, value in measured.machine.items())
    return "\n".join(
        (
            markdown_table(
                head, ((name, *(cell(one) for one in worlds)) for name, cell in _rows())
            ),
            "",
            f"{changes} changes of each kind, one by one. {machine}.",
            "",
            f"Command: `{measured.command}`.",
        )
    )


def _rows() -> list[Row]:
    rows: list[Row] = [
        ("Endpoints, each a pod of its own", lambda one: f"{one.endpoints:,}"),
        ("Nodes", lambda one: f"{one.nodes:,}"),
        ("Initial sync", lambda one: f"{one.sync_seconds:.1f} s"),
        ("of it, processor time of the agent", lambda one: f"{one.sync_cpu_seconds:.1f} s"),
        ("Agent, resident after it", lambda one: f"{one.agent_bytes / _MIB:.0f} MiB"),
        ("Agent, most ever resident", lambda one: f"{one.agent_peak_bytes / _MIB:.0f} MiB"),
        ("Envoy, resident after it", lambda one: f"{one.envoy_bytes / _MIB:.0f} MiB"),
    ]
    rows += [_delays(f"{kind}: p50 / p99", partial(_of_kind, kind)) for kind in KINDS]
    rows += [
        (
            "Under load: changes a second",
            lambda one: f"{one.under_load.changes / one.under_load.seconds:.0f}",
        ),
        (
            "processor time of the agent, of one processor",
            lambda one: _share(one.under_load.agent_cpu_seconds, one.under_load.seconds),
        ),
        (
            "that of Envoy",
            lambda one: _share(one.under_load.envoy_cpu_seconds, one.under_load.seconds),
        ),
        (
            "worlds applied a second",
            lambda one: f"{one.under_load.worlds / one.under_load.seconds:.1f}",
        ),
        _delays("a change: p50 / p99", lambda one: one.under_load.delays_seconds),
        ("agent, most resident", lambda one: f"{one.under_load.agent_peak_bytes / _MIB:.0f} MiB"),
        ("Envoy, resident", lambda one: f"{one.under_load.envoy_bytes / _MIB:.0f} MiB"),
    ]
    return rows


def _of_kind(kind: str, one: WorldFigures) -> Sequence[float]:
    return one.delays_seconds[kind]


def _delays(name: str, values: Callable[[WorldFigures], Sequence[float]]) -> Row:
    def cell(one: WorldFigures) -> str:
        median, tail = (percentile(values(one), percent) * 1000 for percent in (50, 99))
        return f"{median:.0f} / {tail:.0f} ms"

    return name, cell


def _share(cpu_seconds: float, seconds: float) -> str:
    return f"{100 * cpu_seconds / seconds:.0f} %"
