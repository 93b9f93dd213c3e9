"""Containerfiles and chart agree: what an image starts and as whom, and what its build may see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from tests.chart.test_render import ROOT, rendered

IMAGES = sorted(path.parent.name for path in ROOT.glob("images/*/Containerfile"))


def last(image: str, instruction: str) -> str:
    lines = (ROOT / "images" / image / "Containerfile").read_text().splitlines()
    return [line for line in lines if line.startswith(f"{instruction} ")][-1].partition(" ")[2]


def pod_specs() -> Iterator[dict[str, Any]]:
    for one in rendered():
        if one["kind"] == "Pod":
            yield one["spec"]
        elif "template" in one.get("spec", {}):
            yield one["spec"]["template"]["spec"]


def containers(image: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(pod, container) of the chart for every container of the image."""
    for spec in pod_specs():
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            if Path(container["image"].partition(":")[0]).name == image:
                yield spec, container


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps it from builds; the last pattern that fits decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().split():
        pattern = line.removeprefix("!")
        anywhere = pattern.removeprefix("**/")
        fits = fnmatch(path.partition("/")[0], pattern) or fnmatch(path, pattern)
        if fits or (anywhere != pattern and anywhere in path.split("/")):
            verdict = line == pattern
    return verdict


@pytest.mark.parametrize("image", IMAGES)
def test_chart_starts_what_the_image_is_for(image: str) -> None:
    entry = json.loads(last(image, "ENTRYPOINT"))
    started = [container["command"] for _, container in containers(image)]
    assert started
    assert all(command[: len(entry)] == entry for command in started)


@pytest.mark.parametrize("image", IMAGES)
def test_image_runs_by_itself_as_its_own_part_does_in_the_chart(image: str) -> None:
    own = [
        pod["securityContext"] for pod, container in containers(image) if container["name"] == image
    ]
    (context,) = own
    assert last(image, "USER") == f"{context['runAsUser']}:{context['runAsGroup']}"


@pytest.mark.parametrize("image", IMAGES)
def test_build_sees_what_it_copies(image: str) -> None:
    lines = (ROOT / "images" / image / "Containerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY ") and not line.startswith("COPY --from="):
            for source in line.split()[1:-1]:
                assert not ignored(source), source


@pytest.mark.parametrize(
    "path", [".git/HEAD", ".venv/bin/python", "build/setup.log", "controller/culvert/__pycache__/x"]
)
def test_build_does_not_see_what_a_checkout_has_gathered(path: str) -> None:
    assert ignored(path)
