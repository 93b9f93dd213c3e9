"""``docs/policies.md``: its table of bad inputs, its examples, its list of kinds and reasons."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from culvert.model.outcome import Reason
from culvert.sources.decode import decode_document

from tests.kube.bad_inputs import Row, read_rows

DOCUMENT = Path(__file__).parents[2] / "docs" / "policies.md"
HEAD = "| Input | Where | What is shown |\n|---|---|---|\n"
END = "\n\n<!-- end of table -->"
WHERE = {
    "refused": "refused by the API server",
    "condition": "condition",
    "finding": "finding",
}


def cells(row: Row) -> str:
    shown = row.shown.replace("|", "\\|")
    return f"| {row.title} | {row.body['kind']}: {WHERE[row.where]} | `{shown}` |"


def test_every_bad_input_has_its_row(request: pytest.FixtureRequest) -> None:
    have = DOCUMENT.read_text()
    head, _, rest = have.partition(HEAD)
    _, _, tail = rest.partition(END)
    want = head + HEAD + "\n".join(cells(row) for row in read_rows()) + END + tail
    if request.config.getoption("--accept"):
        DOCUMENT.write_text(want)
    else:
        assert have == want


def test_examples_are_valid_objects() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(examples) >= 3
    for example in examples:
        assert decode_document(yaml.safe_load(example)) is not None


def test_every_reason_is_explained() -> None:
    good = {Reason.ACCEPTED, Reason.RESOLVED_REFS, Reason.PROGRAMMED}
    text = DOCUMENT.read_text()
    assert {reason for reason in Reason if f"`{reason}`" not in text} <= good
