"""Everything one run measured, and its form as JSON."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.bench.cases import P99, RATE, Case
from tests.bench.control_plane import ControlPlane
from tests.bench.idle_cases import IdleCase
from tests.bench.rounds import Samples


@dataclass(frozen=True, slots=True)
class Row:
    """One case: values by variant, in order of rounds. ``p99_ms`` is empty where there is none."""

    table: str
    name: str
    connections: int
    size_bytes: int
    unit: str
    rate: dict[str, list[float]]
    p99_ms: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Results:
    """``machine`` says on what, ``command`` how it was measured."""

    machine: dict[str, str]
    command: str
    rounds: int
    seconds: int
    concurrency: int
    rows: list[Row]
    """Measured with processors that do not halt."""
    halting_rows: list[Row]
    """Some of the same, with processors that do."""
    idle: list[IdleCase]
    control_plane: ControlPlane | None


def measured_row(case: Case, samples: Samples, variants: Sequence[str]) -> Row:
    """One row, of what was measured of it."""
    return Row(
        table=case.table,
        name=case.name,
        connections=case.connections,
        size_bytes=case.size_bytes,
        unit=case.unit,
        rate={v: values for v in variants if (values := samples.of(v, RATE))},
        p99_ms={v: values for v in variants if (values := samples.of(v, P99))},
    )


def to_json(results: Results) -> bytes:
    """As JSON, for people and programs alike."""
    return msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"


def from_json(text: bytes) -> Results:
    """The inverse of ``to_json``.

    Raises:
        msgspec.ValidationError: it is something else.
    """
    return msgspec.json.decode(text, type=Results)


def describe_machine() -> dict[str, str]:
    """What the numbers depend on; no name or address of the machine."""
    cpu_lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in cpu_lines if line.startswith("model name")]
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "CPU": f"{models[0] if models else 'unknown'}, {len(models)} threads",
        "Memory": f"{memory_kib / 2**20:.0f} GiB",
        "Kernel": Path("/proc/sys/kernel/osrelease").read_text().split("-")[0].strip(),
        "Envoy": _envoy_version(),
        "Load generator": _first_line(["wrk", "-v"]).split("[")[0].strip(),
    }


def _envoy_version() -> str:
    """``1.40.0``, out of ``…/envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL``."""
    words = _first_line([str(Path(sys.executable).with_name("envoy")), "--version"]).split("/")
    return next((word for word in words if word[:1].isdigit() and word.count(".") == 2), "unknown")


def _first_line(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"
