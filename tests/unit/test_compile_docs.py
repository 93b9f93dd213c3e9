from __future__ import annotations

import re
from pathlib import Path

import pytest
from culvert.model import codes
from culvert.model.codes import CODES
from culvert.rig.codes import RIG_CODES

ROOT = Path(__file__).parents[2]
FINDINGS = ROOT / "docs" / "findings.md"
ALL_CODES = tuple(sorted((*CODES, *RIG_CODES), key=lambda code: code.id))


def test_every_code_has_a_row_in_the_documentation(request: pytest.FixtureRequest) -> None:
    rows = [f"| {code.id} | {code.title} | {code.effect} |" for code in ALL_CODES]
    have = FINDINGS.read_text()
    head, _, _ = have.partition("| CV")
    _, _, tail = have.partition("\n\n<!-- end of table -->")
    want = head + "\n".join(rows) + "\n\n<!-- end of table -->" + tail
    if request.config.getoption("--accept"):
        FINDINGS.write_text(want)
    else:
        assert have == want


def test_codes_are_unique_and_sorted() -> None:
    for codes_of in (CODES, RIG_CODES):
        ids = [code.id for code in codes_of]
        assert ids == sorted(set(ids))
    assert len({code.id for code in ALL_CODES}) == len(ALL_CODES)


def test_every_code_in_the_source_is_listed() -> None:
    package = ROOT / "controller" / "culvert"
    used = {
        code for path in package.rglob("*.py") for code in re.findall(r"CV\d{4}", path.read_text())
    }
    assert used <= {code.id for code in ALL_CODES}


def test_every_code_that_is_defined_is_in_its_table() -> None:
    defined = {value for value in vars(codes).values() if isinstance(value, codes.Code)}
    assert defined == set(CODES)
