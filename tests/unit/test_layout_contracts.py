"""The import contracts catch what they are for: each is shown a module that breaks it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def lint_imports(checkout: Path) -> subprocess.CompletedProcess[str]:
    # As -c and not as the lint-imports script, whose own path would come first on sys.path.
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=checkout,
        env={"PYTHONPATH": str(checkout / "controller"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(ROOT / ".importlinter", tmp_path)
    shutil.copytree(
        ROOT / "controller/culvert",
        tmp_path / "controller/culvert",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return tmp_path


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("model/world.py", "import culvert.compile", "Layers BROKEN"),
        ("xds/server.py", "import culvert.redirect.plan", "Layers BROKEN"),
        ("compile/routes.py", "import culvert.xds.session", "Layers BROKEN"),
        ("newcomer.py", "", "Layers BROKEN"),
        ("compile/routes.py", "import time", "Decisions do no I/O and know no clock BROKEN"),
        ("xds/session.py", "import asyncio", "Decisions do no I/O and know no clock BROKEN"),
        ("redirect/plan.py", "import random", "Decisions do no I/O and know no clock BROKEN"),
        ("redirect/kernel.py", "import bcc", "and LLVM with it BROKEN"),
        ("agent/agent.py", "import culvert.redirect.compiler", "an import BROKEN"),
    ],
)
def test_forbidden_import_breaks_its_contract(
    checkout: Path, module: str, line: str, broken: str
) -> None:
    path = checkout / "controller/culvert" / module
    path.write_text(f"{path.read_text() if path.exists() else ''}\n{line}\n")
    result = lint_imports(checkout)
    assert result.returncode == 1, result.stdout + result.stderr
    assert broken in " ".join(result.stdout.split())


def test_tree_as_it_is_breaks_no_contract(checkout: Path) -> None:
    result = lint_imports(checkout)
    assert result.returncode == 0, result.stdout
