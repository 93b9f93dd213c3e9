"""The kinds of ``culvert.dev`` on a real API server, from the very files of their chart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from culvert.embedded.control_plane import ControlPlane

FILES = Path(__file__).parents[2] / "charts" / "culvert-crds" / "files"
PLURALS = ("authorizationpolicies", "meshconfigs", "peerauthentications", "trafficpolicies")

_LIMIT_SECONDS = 60.0


@contextmanager
def definitions_of(plane: ControlPlane) -> Iterator[None]:
    """Every kind is served, and documented, within; all of it is gone afterwards."""
    try:
        succeeds(plane, "apply", "--server-side", "-f", str(FILES))
        names = [f"crd/{plural}.culvert.dev" for plural in PLURALS]
        succeeds(plane, "wait", "--for=condition=Established", "--timeout=60s", *names)
        for plural in PLURALS:
            _wait_until_explained(plane, plural)
        yield
    finally:
        plane.kubectl("delete", "-f", str(FILES), "--ignore-not-found", "--wait")


def succeeds(plane: ControlPlane, *arguments: str, stdin: str | None = None) -> str:
    """What kubectl prints; a failure fails the test."""
    done = plane.kubectl(*arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _wait_until_explained(plane: ControlPlane, plural: str) -> None:
    """A new kind is served at once, and its documentation a moment later."""
    deadline = time.monotonic() + _LIMIT_SECONDS
    while plane.kubectl("explain", plural).returncode:
        assert time.monotonic() < deadline, f"{plural} never got documentation"
        time.sleep(0.2)
