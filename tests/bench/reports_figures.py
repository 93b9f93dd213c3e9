"""What the part about reports measured: values, and their form as JSON."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class PhaseFigures:
    """Every node has reported once, in the same way.

    ``report_bytes`` is the body of one; ``seconds`` from the first to the last answer, and
    ``cpu_seconds`` the processor time of the intake meanwhile, of all its threads;
    ``peak_bytes`` the most of it that was resident.
    ``settling_seconds`` is from the last answer until the controller's look at the changes
    counted all nodes; None where nothing was to be counted.
    """

    name: str
    reports: int
    report_bytes: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    settling_seconds: float | None = None

    @property
    def per_second(self) -> float:
        """Reports taken each second, by one process, beside those who sent them."""
        return self.reports / self.seconds

    @property
    def cpu_seconds_per_1000(self) -> float:
        """Processor time of the intake for a thousand reports."""
        return 1000 * self.cpu_seconds / self.reports


@dataclass(frozen=True, slots=True)
class Reports:
    """One run. Memory is resident: of the intake when it was empty, and with all nodes known."""

    machine: dict[str, str]
    command: str
    nodes: int
    objects: int
    findings: int
    phases: list[PhaseFigures]
    empty_bytes: int
    full_bytes: int


def to_json(measured: Reports) -> bytes:
    """As JSON, for people and programs alike."""
    return msgspec.json.format(msgspec.json.encode(measured), indent=1) + b"\n"


def from_json(text: bytes) -> Reports:
    """The inverse of ``to_json``.

    Raises:
        msgspec.ValidationError: it is something else.
    """
    return msgspec.json.decode(text, type=Reports)
