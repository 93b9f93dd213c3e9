"""What a hostPath names on a node of a rig; pure.

The nodes of a rig share one machine. Each has a folder in the place of its file system; only what
belongs to the kernel is the machine's own, and of that each node sees its own part where there is
one: its cgroups, and a folder of its own in bpffs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_SHARED = ("/dev", "/proc", "/sys", "/lib/modules", "/usr/src", "/usr/lib/modules")
_CGROUP = PurePosixPath("/sys/fs/cgroup")
_BPFFS = PurePosixPath("/sys/fs/bpf")


@dataclass(frozen=True, slots=True)
class HostPaths:
    """Of one node. ``files`` stands for ``/``, ``cgroup`` and ``bpffs`` for those mounts."""

    files: Path
    cgroup: Path
    bpffs: Path

    def real(self, path: str, *, shared: Sequence[str] = _SHARED) -> Path:
        """Return the path on this machine of a path on the node."""
        wanted = PurePosixPath("/", *(part for part in PurePosixPath(path).parts if part != ".."))
        for mount, real in ((_CGROUP, self.cgroup), (_BPFFS, self.bpffs)):
            if wanted.is_relative_to(mount):
                return real / wanted.relative_to(mount)
        if any(wanted.is_relative_to(prefix) for prefix in shared):
            return Path(wanted)
        return self.files / wanted.relative_to("/")

    def belongs_to_kernel(self, path: str) -> bool:
        """Whether a path names something that cannot be made."""
        return not self.real(path).is_relative_to(self.files)
