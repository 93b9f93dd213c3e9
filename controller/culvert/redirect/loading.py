"""Running the loader as a process of its own, or taking over what an earlier one pinned."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from culvert.redirect.report import LoadFailure, LoadReport, boot_id
from culvert.redirect.source import bpf_directory, source_digest

_log = structlog.get_logger(__name__)
_LOADER_SECONDS = 120.0


class LoaderError(Exception):
    """The loader could not load; the message holds the problem and the remedy."""


@dataclass(frozen=True, slots=True)
class LoaderOptions:
    """Where the loader pins (``root``, in bpffs), tests (``cgroup_root``) and keeps its report."""

    root: Path
    cgroup_root: Path
    report_path: Path
    without: frozenset[str] = frozenset()


def reusable_report(options: LoaderOptions) -> LoadReport | None:
    """The report of an earlier load if it still holds: same boot, kernel and sources, pins there.

    An operator's ``without`` is a reason to load anew.
    """
    try:
        report = msgspec.json.decode(options.report_path.read_bytes(), type=LoadReport)
    except (OSError, msgspec.DecodeError):
        return None
    holds = (
        not options.without
        and "switched off" not in report.acceleration_reason
        and report.boot_id == boot_id()
        and report.kernel == platform.release()
        and report.source_sha256 == source_digest(bpf_directory())
        and all((Path(report.programs_path) / name).exists() for name in report.program_tags)
        and (Path(report.maps_path) / "cv_sockhash").exists()
    )
    return report if holds else None


async def load_or_reuse(options: LoaderOptions) -> LoadReport:
    """Have the programs compiled, tested and pinned, unless an earlier load still holds.

    Raises:
        LoaderError: nothing was loaded; says why and what to do.
    """
    reused = reusable_report(options)
    if reused is not None:
        _log.info("programs of an earlier start are pinned and current", **_summary(reused))
        return reused
    argv = [sys.executable, "-m", "culvert.redirect.loader", "--root", str(options.root)]
    argv += ["--cgroup-root", str(options.cgroup_root)]
    for feature in sorted(options.without):
        argv += ["--without", feature]
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_LOADER_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        raise LoaderError(f"the loader did not finish in {_LOADER_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
    try:
        if process.returncode == 0:
            report = msgspec.json.decode(out, type=LoadReport)
            _keep(options.report_path, out)
            _log.info("programs loaded", **_summary(report))
            return report
        failure = msgspec.json.decode(out, type=LoadFailure)
    except msgspec.DecodeError:
        tail = err.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise LoaderError(f"the loader ended with {process.returncode}: {tail[0]}") from None
    raise LoaderError(f"{failure.problem}; {failure.remedy}")


def _keep(path: Path, text: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_bytes(text)
    temporary.replace(path)


def _summary(report: LoadReport) -> dict[str, str]:
    return {
        "kernel": report.kernel,
        "acceleration": report.acceleration.value,
        "reason": report.acceleration_reason,
        "sources": report.source_sha256[:12],
    }
