from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.bench.cases import REQUESTS
from tests.bench.control_plane import ControlPlane
from tests.bench.document import render
from tests.bench.figure import draw
from tests.bench.idle import IdleMemory
from tests.bench.idle_cases import IdleCase
from tests.bench.results import Results, Row, from_json, to_json

_ROW = Row(
    table=REQUESTS,
    name="HTTP, 16 connections, 1 KiB",
    connections=16,
    size_bytes=1024,
    unit="requests/s",
    rate={
        "a": [40000.0, 41000.0, 42000.0],
        "b": [4000.0, 4100.0, 4200.0],
        "c": [10000.0, 11000.0, 12000.0],
        "d": [10100.0, 10900.0, 12100.0],
    },
    p99_ms={"a": [1.0, 1.0, 1.0], "b": [8.0, 8.0, 8.0], "c": [4.0, 4.0, 4.0], "d": [3.0, 3.0, 3.0]},
)

_CONTROL_PLANE = ControlPlane(
    full_compile_seconds=0.25,
    incremental_compile_seconds=0.02,
    resource_bytes={"Cluster": 1024},
    pushed_responses={"ClusterLoadAssignment": 1},
    pushed_bytes={"ClusterLoadAssignment": 452},
    change_seconds=0.2,
    agent_bytes=128 << 20,
    agent_peak_bytes=129 << 20,
    envoy_bytes=100 << 20,
    loader_peak_bytes=207 << 20,
    agent_compiler_libraries=[],
    agent_children=0,
)

_RESULTS = Results(
    machine={"CPU": "a machine, 2 threads"},
    command="make bench",
    rounds=3,
    seconds=2,
    concurrency=1,
    rows=[_ROW],
    halting_rows=[_ROW],
    idle=[IdleCase("http", 10_000, {"c": IdleMemory(10_000, 10_000 * 2048, 10_000 * 1024)})],
    control_plane=_CONTROL_PLANE,
)


def test_every_table_has_its_place_in_the_prose() -> None:
    assert "<!--" not in render(_RESULTS)


def test_row_shows_medians_quartiles_and_what_is_noise() -> None:
    line = next(line for line in render(_RESULTS).splitlines() if line.startswith(f"| {_ROW.name}"))
    assert "| 4,100 (4,050–4,150) |" in line
    assert line.endswith("| **2.66** | **1.01 ≈** |")


def test_idle_memory_is_shown_for_each_connection() -> None:
    lines = render(_RESULTS).splitlines()
    assert "| http, 10,000 connections, proxies | – | – | 2.0 | – |" in lines
    assert "| http, 10,000 connections, kernel | – | – | 1.0 | – |" in lines


def test_compiler_in_the_agent_is_named() -> None:
    tainted = dataclasses.replace(_CONTROL_PLANE, agent_compiler_libraries=["/usr/lib/libLLVM.so"])
    text = render(dataclasses.replace(_RESULTS, control_plane=tainted))
    assert "| LLVM, clang or BCC in the agent | /usr/lib/libLLVM.so |" in text
    assert "| LLVM, clang or BCC in the agent | none |" in render(_RESULTS)


def test_parts_that_were_not_measured_say_so() -> None:
    text = render(dataclasses.replace(_RESULTS, rows=[], idle=[], control_plane=None))
    assert text.count("Not measured in this run.") == 9


def test_results_survive_json() -> None:
    assert from_json(to_json(_RESULTS)) == _RESULTS


def test_equal_results_draw_an_equal_picture(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        draw(_RESULTS, tmp_path / name)
    picture = (tmp_path / "one.svg").read_bytes()
    assert picture == (tmp_path / "two.svg").read_bytes()
    assert b"<svg" in picture
