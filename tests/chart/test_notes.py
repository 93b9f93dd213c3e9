"""What an installation prints at its end: how to watch it, and the next command."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.chart.test_render import CHART, helm


def notes(tmp_path: Path, *values: str) -> str:
    # Helm shows them only once a cluster has answered; a template of a ConfigMap it always renders.
    chart = tmp_path / "culvert"
    shutil.copytree(CHART, chart)
    text = (chart / "templates/NOTES.txt").read_text()
    (chart / "templates/_notes.tpl").write_text('{{- define "notes" -}}\n' + text + "{{- end }}\n")
    (chart / "templates/shown.yaml").write_text('shown: {{ include "notes" . | toJson }}\n')
    sets = [f"--set={value}" for value in values]
    show = ("--namespace=mesh", "--show-only=templates/shown.yaml")
    done = helm("template", "culvert", str(chart), *show, *sets)
    assert done.returncode == 0, done.stderr
    return str(yaml.safe_load(done.stdout)["shown"])


def test_notes_watch_every_part_and_end_in_the_next_command(tmp_path: Path) -> None:
    lines = [line.strip() for line in notes(tmp_path).splitlines()]
    for part in (
        "daemonset/culvert-agent",
        "daemonset/culvert-proxy",
        "deployment/culvert-controller",
    ):
        assert f"kubectl --namespace mesh rollout status {part}" in lines
    assert lines[-1] == "kubectl label namespace default culvert.dev/mesh=enabled"


@pytest.mark.parametrize(("enabled", "spoken_of"), [("true", True), ("false", False)])
def test_notes_speak_of_a_controller_only_if_there_is_one(
    tmp_path: Path, enabled: str, spoken_of: bool
) -> None:
    assert ("controller" in notes(tmp_path, f"controller.enabled={enabled}")) is spoken_of
