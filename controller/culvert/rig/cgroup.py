"""Control groups of version 2 (kernel Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

_REMOVAL_SECONDS = 5.0


class NoCgroup2Error(RuntimeError):
    """No cgroup v2 hierarchy is mounted."""


def find_mount(mounts: Path = Path("/proc/self/mounts")) -> Path:
    """Find where cgroup v2 is mounted: alone, or beside version 1 in a hybrid set-up.

    Raises:
        NoCgroup2Error: it is not mounted.
    """
    for line in mounts.read_text().splitlines():
        fields = line.split(" ")
        if fields[2] == "cgroup2":
            return Path(fields[1].replace("\\040", " "))
    raise NoCgroup2Error(
        "no cgroup v2 hierarchy is mounted: "
        "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"
    )


def cgroup_id(path: Path) -> int:
    """Return the id that BPF programs see: the inode number of the directory."""
    return path.stat().st_ino


def processes(path: Path) -> list[int]:
    """List the processes in a cgroup and below it; none when it does not exist."""
    found: list[int] = []
    for directory, _, _ in os.walk(path):
        try:
            text = Path(directory, "cgroup.procs").read_text()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
            continue
        # 0 stands for a process this PID namespace cannot see.
        found.extend(int(word) for word in text.split() if word != "0")
    return found


def kill(path: Path) -> None:
    """Send SIGKILL to every process in a cgroup and below it, forks in progress included."""
    try:
        (path / "cgroup.kill").write_text("1")
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise


def remove(path: Path) -> None:
    """Kill what runs in a cgroup and below it, and remove the whole subtree.

    Returns when the directories are gone; removing one that is not there changes nothing.

    Raises:
        OSError: processes refused to die (state D) for some seconds.
    """
    deadline = time.monotonic() + _REMOVAL_SECONDS
    while path.exists():
        kill(path)
        try:
            for directory, _, _ in os.walk(path, topdown=False):
                Path(directory).rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
