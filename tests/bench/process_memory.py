"""What processes occupy and use, from /proc (proc(5))."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

KIB = 1024
_COMPILER = re.compile(r"/lib(?:LLVM|clang|bcc)[^/]*\.so", re.IGNORECASE)


def resident_bytes(process: subprocess.Popen[bytes]) -> int:
    """Resident memory now, shared pages included.

    Raises:
        OSError: the process is gone.
    """
    return _status_bytes(process.pid, "VmRSS")


def peak_resident_bytes(pid: int) -> int:
    """The most that was ever resident.

    Raises:
        OSError: the process is gone.
    """
    return _status_bytes(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let ``peak_resident_bytes`` be the most from now on.

    Raises:
        OSError: the process is gone.
    """
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_seconds(pid: int) -> float:
    """Processor time so far, user and kernel together, of all threads.

    Raises:
        OSError: the process is gone.
    """
    # The name, in parentheses, may hold anything; after it, fields 14 and 15 are ticks.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Direct children of a process; none when it is gone."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        texts = [(task / "children").read_text() for task in tasks]
    except OSError:
        return []
    return [int(word) for text in texts for word in text.split()]


def compiler_libraries(pid: int) -> list[str]:
    """The libraries of LLVM, clang and BCC that a process has mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return sorted({line.split()[-1] for line in maps if _COMPILER.search(line)})


def kernel_bytes() -> int:
    """Kernel memory of the machine: slabs, and pages that sockets and the like take directly."""
    text = Path("/proc/meminfo").read_text()
    return sum(_kib(text, field) for field in ("Slab", "Percpu", "VmallocUsed")) * KIB


def _status_bytes(pid: int, field: str) -> int:
    return _kib(Path(f"/proc/{pid}/status").read_text(), field) * KIB


def _kib(text: str, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise OSError(f"no field {field}: the process has ended, or the kernel has none")
    return int(found[1])
