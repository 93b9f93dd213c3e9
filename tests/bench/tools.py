"""The small C programs that make and take the load, compiled when a run begins."""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCES = Path(__file__).parent
_FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror")


def build(name: str, directory: Path) -> Path:
    """Compile ``<name>.c`` of this folder into ``directory`` and return the program.

    Raises:
        subprocess.CalledProcessError: the compiler refused; its messages are on standard error.
    """
    program = directory / name
    subprocess.run(["clang", *_FLAGS, "-o", str(program), str(_SOURCES / f"{name}.c")], check=True)
    return program
