"""The table of labels and annotations in ``docs/annotate.md``."""

from __future__ import annotations

from culvert.compile.annotations.registry import ANNOTATIONS

_HEAD = """\
| Name | On | Kind | Values | Default | Effect |
|---|---|---|---|---|---|
"""


def annotation_table() -> str:
    """The table in Markdown, a row for each, ending in a line break."""
    rows = (
        f"| `{one.name}` | {', '.join(one.objects)} | {one.kind} | {one.grammar} "
        f"| {one.default} | {one.effect} |\n"
        for one in ANNOTATIONS
    )
    return _HEAD + "".join(rows)
