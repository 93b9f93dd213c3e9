"""What the loader found out and did, as a value that crosses the process boundary as JSON."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec

LOAD_REPORT = "load-report.json"
"""Name of the file that keeps the report, in the agent's directory."""


class CaseResult(msgspec.Struct, frozen=True):
    """One case of the behaviour self-test. ``detail`` says what was seen."""

    name: str
    passed: bool
    detail: str


class Acceleration(StrEnum):
    """How far this kernel's sockmap can be trusted."""

    ON = "on"
    """Every pod is accelerated unless it declines."""
    ON_REQUEST = "on-request"
    """Only pods that ask for it: the kernel lets down some kinds of applications."""
    OFF = "off"
    """No pod: a case that every application relies on failed, or could not be tried."""


class LoadReport(msgspec.Struct, frozen=True):
    """One run of the loader.

    ``acceleration_reason`` says why acceleration is not plainly on; empty where it is. ``boot_id``,
    ``kernel`` and ``source_sha256`` say for what the report holds: the same three on the next start
    mean that the pinned programs can be used as they are.
    """

    boot_id: str
    kernel: str
    source_sha256: str
    maps_path: str
    programs_path: str
    program_tags: dict[str, str]
    features: dict[str, str]
    self_test: list[CaseResult]
    acceleration: Acceleration
    acceleration_reason: str
    seconds: float


class LoadFailure(msgspec.Struct, frozen=True):
    """Why nothing was loaded: ``problem`` in one sentence, ``remedy`` in another."""

    problem: str
    remedy: str


def boot_id() -> str:
    """Identifies this boot of the kernel; pins do not survive it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
