"""A folder whose files change all at once, as the kubelet's AtomicWriter makes it.

The files are in a folder of a name of its own, ``..data`` links to it, and each visible name links
to its file by way of ``..data``: a reader sees all of the former files or all of the present ones.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from culvert.rig.kube.volume_files import File

_DATA = "..data"


def write_files(folder: Path, files: Mapping[str, File], *, uid: int, gid: int) -> bool:
    """Make ``files`` the contents of ``folder``; return whether that changed anything.

    All belong to ``uid`` and ``gid``; -1 leaves the owner as it is.

    Raises:
        OSError: a file could not be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if _read(folder / _DATA, files):
        return False
    fresh = folder / f"..{secrets.token_hex(6)}"
    fresh.mkdir(mode=0o755)
    for name, file in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode)
        os.chown(path, uid, gid)
    former = (folder / _DATA).resolve() if (folder / _DATA).is_symlink() else None
    link = folder / "..data_tmp"
    link.symlink_to(fresh.name)
    link.rename(folder / _DATA)
    _link_names(folder, {name.partition("/")[0] for name in files})
    if former is not None:
        shutil.rmtree(former)
    return True


def _read(data: Path, files: Mapping[str, File]) -> bool:
    """Whether exactly these files are there."""
    if not data.is_dir():
        return False
    root = data.resolve()
    there = {str(p.relative_to(root)): p for p in root.rglob("*") if p.is_file()}
    return there.keys() == files.keys() and all(
        there[name].read_bytes() == file.content
        and (there[name].stat().st_mode & 0o7777) == file.mode
        for name, file in files.items()
    )


def _link_names(folder: Path, names: set[str]) -> None:
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
    for name in names:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"{_DATA}/{name}")
