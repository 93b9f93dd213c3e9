"""Which cgroup belongs to which pod on this node.

Kubelets name a pod's cgroup v2 directory in one of two ways (Kubernetes, "Container Runtimes":
cgroup drivers), either of them possibly below a directory for the quality of service:

- ``pod<uid>`` by the cgroupfs driver,
- ``kubepods[-<qos>]-pod<uid>.slice`` by the systemd driver, with ``_`` for the ``-`` of the UID.

A cgroup's id, as ``bpf_get_current_cgroup_id`` and its relatives give it, is the inode number of
its directory in the cgroup v2 file system.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path

from watchfiles import Change, awatch

RESYNC_SECONDS = 2.0

_CGROUPFS = re.compile(r"pod(?P<uid>[0-9A-Za-z][0-9A-Za-z.-]*)")
_SYSTEMD = re.compile(r"(?:[a-z]+-)?kubepods(?:-[a-z]+)?-pod(?P<uid>[0-9A-Za-z_]+)\.slice")
# The pods' directory, one for the quality of service, the pod's.
_MAX_DEPTH = 3

_KUBELET_CGROUPS = (
    # systemd driver; cgroupfs driver; the same of a kubelet with a cgroup root of its own, as in
    # clusters whose nodes are containers.
    "kubepods.slice",
    "kubepods",
    "kubelet.slice/kubelet-kubepods.slice",
    "kubelet/kubepods",
)


def find_pods_cgroup(cgroup_root: Path) -> Path | None:
    """The kubelet's cgroup for pods; None where there is none of a usual name."""
    candidates = (cgroup_root / name for name in _KUBELET_CGROUPS)
    return next((path for path in candidates if path.is_dir()), None)


def pod_uid_of(directory_name: str) -> str | None:
    """The UID of the pod that a cgroup directory is for; None where it is not a pod's."""
    if match := _SYSTEMD.fullmatch(directory_name):
        return match["uid"].replace("_", "-")
    if directory_name.endswith(".slice"):
        return None
    match = _CGROUPFS.fullmatch(directory_name)
    return match["uid"] if match else None


def read_pod_cgroups(root: Path) -> Mapping[str, int]:
    """Pod UID -> cgroup id, for every pod directory at most three levels below ``root``.

    Empty where ``root`` does not exist. Blocks on the file system.
    """
    found: dict[str, int] = {}
    _collect(root, _MAX_DEPTH, found)
    return dict(sorted(found.items()))


def _collect(directory: Path, depth: int, found: dict[str, int]) -> None:
    try:
        with os.scandir(directory) as entries:
            children = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        # Gone since it was listed, or a root that is not there yet.
        return
    for child in children:
        uid = pod_uid_of(child.name)
        if uid is not None:
            found[uid] = child.inode()
        elif depth > 1:
            _collect(Path(child.path), depth - 1, found)


class CgroupSource:
    """Watches the cgroup below which the kubelet makes one per pod."""

    def __init__(self, root: Path, *, resync_seconds: float = RESYNC_SECONDS) -> None:
        self._root = root
        self._resync_seconds = resync_seconds

    async def watch(self) -> AsyncIterator[Mapping[str, int]]:
        """Pod UID -> cgroup id now, then again whenever it has changed.

        Ends only by cancellation. Directories are noticed when they are made; what notifications
        miss, and a root that appears later, within ``resync_seconds``.
        """
        cgroups = await asyncio.to_thread(read_pod_cgroups, self._root)
        yield cgroups
        async with aclosing(self._hints()) as hints:
            async for _ in hints:
                following = await asyncio.to_thread(read_pod_cgroups, self._root)
                if following != cgroups:
                    cgroups = following
                    yield cgroups

    async def _hints(self) -> AsyncGenerator[None, None]:
        while True:
            try:
                inode = self._root.stat().st_ino
            except OSError:
                await asyncio.sleep(self._resync_seconds)
                yield None
                continue
            changes = awatch(
                self._root,
                watch_filter=_is_directory_change,
                step=10,
                debounce=100,
                rust_timeout=round(self._resync_seconds * 1000),
                yield_on_timeout=True,
            )
            try:
                # Something may have changed between the last read and the start of the watch.
                yield None
                async for _ in changes:
                    yield None
                    if not self._is_still(inode):
                        break
            except FileNotFoundError:
                await asyncio.sleep(self._resync_seconds)
            finally:
                await changes.aclose()

    def _is_still(self, inode: int) -> bool:
        try:
            return self._root.stat().st_ino == inode
        except OSError:
            return False


def _is_directory_change(change: Change, path: str) -> bool:
    """Writes to control files are many and say nothing of pods."""
    return change is not Change.modified
