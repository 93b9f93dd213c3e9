"""The documents say what is so: links resolve, and lists match the code they are about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from culvert.compile.annotations.document import annotation_table
from culvert.model.traffic import RetryCondition
from culvert.redirect.abi import Verdict

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = HEADING.findall(document.read_text())
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def broken_links(document: Path) -> Iterator[str]:
    for link in LINK.findall(document.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def first_cells(document: Path) -> set[str]:
    """What stands as code in the first cell of a table row."""
    return set(re.findall(r"^\| `([^`]+)` \|", document.read_text(), re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    assert list(broken_links(document)) == []


def test_every_verdict_is_explained_and_none_that_does_not_exist() -> None:
    explained = first_cells(ROOT / "docs/troubleshoot.md")
    assert explained == {verdict.name.lower() for verdict in Verdict}


def test_the_table_of_labels_and_annotations_is_the_registry(
    request: pytest.FixtureRequest,
) -> None:
    document = ROOT / "docs/annotate.md"
    have = document.read_text()
    head, _, rest = have.partition("| Name |")
    _, _, tail = rest.partition("\n\n<!-- end of table -->")
    want = head + annotation_table() + "\n<!-- end of table -->" + tail
    if request.config.getoption("--accept"):
        document.write_text(want)
    else:
        assert have == want


def test_every_retry_condition_is_documented_and_none_that_does_not_exist() -> None:
    document = (ROOT / "docs/annotate.md").read_text()
    section = document.partition("## Timeouts and retries")[2].partition("\n## ")[0]
    documented = set(re.findall(r"`([a-z0-9-]+)`(?=[^|\n]*\|[^|\n]*\|)", section))
    assert set(RetryCondition) <= documented


def test_every_make_target_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"(?:`|^)make ([a-z-]+)", document.read_text(), re.MULTILINE)
    }
    assert named <= targets
