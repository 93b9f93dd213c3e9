from __future__ import annotations

import json
from pathlib import Path

from culvert.cli.main import application
from typer.testing import CliRunner

GOOD = """
apiVersion: v1
kind: Node
metadata: {name: node-a}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  clusterIP: 10.96.0.10
  ports: [{name: http, port: 80, appProtocol: http}]
"""


def test_sound_manifests_have_nothing_to_report(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    result = CliRunner().invoke(application, ["analyze", "-f", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "nothing to report" in result.output


def test_unreadable_file_is_named_and_fails_the_command(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text("kind: [")
    result = CliRunner().invoke(application, ["analyze", "-f", str(tmp_path), "-o", "json"])
    assert result.exit_code == 1
    (finding,) = json.loads(result.output)
    assert finding["code"] == "CV0101"
    assert "bad.yaml" in finding["subject"]
    assert finding["remedy"]
