"""Every folder here is a case: ``in.yaml`` compiles to exactly what ``out/`` holds.

``pytest tests/golden --accept`` rewrites ``out/``; review the diff before it is committed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from culvert.compile.cache import CachedCompiler
from culvert.compile.consistency import inconsistencies
from culvert.compile.node import compile_node

from tests.golden.case import read_case, render

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/in.yaml"))


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_case_compiles_to_its_golden_output(folder: Path, request: pytest.FixtureRequest) -> None:
    case = read_case(folder)
    have = render(case, compile_node(case.world, case.node))
    out = folder / "out"
    if request.config.getoption("--accept"):
        out.mkdir(exist_ok=True)
        for path in out.iterdir():
            path.unlink()
        for name, text in have.items():
            (out / name).write_text(text)
        return
    want = {path.name: path.read_text() for path in out.glob("*.yaml")}
    assert have == want


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_case_refers_to_nothing_that_it_does_not_hold(folder: Path) -> None:
    case = read_case(folder)
    assert list(inconsistencies(compile_node(case.world, case.node))) == []


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_case_compiles_to_the_same_through_the_cache(folder: Path) -> None:
    case = read_case(folder)
    assert CachedCompiler(case.node).compile(case.world) == compile_node(case.world, case.node)
