"""What is kept of runs, beside the document that is made of it."""

from __future__ import annotations

from pathlib import Path

from tests.bench import identity_figures, propagation_figures, reports_figures, results
from tests.bench.document import render
from tests.bench.figure import draw
from tests.bench.identity_figures import Identities
from tests.bench.propagation_figures import Propagation
from tests.bench.reports_figures import Reports
from tests.bench.results import Results


def keep(
    docs: Path,
    measured: Results | None,
    propagation: Propagation | None,
    reports: Reports | None = None,
    identities: Identities | None = None,
) -> Path:
    """Keep what was measured now, and write the document of it and of what is kept of the rest.

    Returns the document.

    Raises:
        OSError: nothing was ever measured but what is kept apart.
    """
    folder = docs / "benchmarks"
    folder.mkdir(exist_ok=True)
    rows_path, propagation_path = folder / "results.json", folder / "propagation.json"
    reports_path = folder / "reports.json"
    if measured is not None:
        rows_path.write_bytes(results.to_json(measured))
        draw(measured, folder / "throughput.svg")
    if propagation is not None:
        propagation_path.write_bytes(propagation_figures.to_json(propagation))
    elif propagation_path.exists():
        propagation = propagation_figures.from_json(propagation_path.read_bytes())
    if reports is not None:
        reports_path.write_bytes(reports_figures.to_json(reports))
    elif reports_path.exists():
        reports = reports_figures.from_json(reports_path.read_bytes())
    identities_path = folder / "identities.json"
    if identities is not None:
        identities_path.write_bytes(identity_figures.to_json(identities))
    elif identities_path.exists():
        identities = identity_figures.from_json(identities_path.read_bytes())
    document = docs / "benchmarks.md"
    rows = results.from_json(rows_path.read_bytes())
    document.write_text(render(rows, propagation, reports, identities))
    return document
