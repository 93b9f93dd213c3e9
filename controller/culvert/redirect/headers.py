"""Kernel headers for BCC, wherever the distribution keeps them.

BCC looks in ``/lib/modules/$(uname -r)``. On a node whose kernel did not come from the distribution
there is nothing there, although a headers package is installed; and Debian splits that package in
two trees. A temporary tree of symbolic links gives BCC the one tree it expects, and leaves the
system alone. Only user-space ABI types are taken from these headers, so their version need not be
the running kernel's.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

VARIABLE = "BCC_KERNEL_SOURCE"
"""BCC takes headers from here when it is set."""

_KCONFIG = "include/linux/kconfig.h"
_AUTOCONF = "include/generated/autoconf.h"


def find_header_trees(sources: Path, modules: Path) -> tuple[Path, ...]:
    """The trees that together make up one set of headers; empty where there is none.

    ``sources`` is ``/usr/src`` and ``modules`` is ``/lib/modules/<release>``. The running kernel's
    own headers come first, then the newest version installed.
    """
    own = [modules / "build", modules / "source"]
    if any((tree / _KCONFIG).is_file() for tree in own):
        return tuple(tree for tree in own if tree.is_dir())

    def version(tree: Path) -> tuple[int, ...]:
        return tuple(int(number) for number in re.findall(r"\d+", tree.name))

    configured = [tree for tree in sources.glob("linux-headers-*") if (tree / _AUTOCONF).is_file()]
    for tree in sorted(configured, key=version, reverse=True):
        if (tree / _KCONFIG).is_file():
            return (tree,)
        common = tree.with_name(tree.name.rpartition("-")[0] + "-common")
        if (common / _KCONFIG).is_file():
            return (tree, common)
    return ()


def _link_children(into: Path, trees: tuple[Path, ...], inside: str) -> None:
    target = into / inside
    target.mkdir(parents=True, exist_ok=True)
    for tree in trees:
        for child in sorted((tree / inside).glob("*")):
            link = target / child.name
            if not link.exists():
                link.symlink_to(child)


@contextmanager
def headers_for_bcc() -> Iterator[bool]:
    """Point BCC at one tree of headers for the time of a compilation; False: none are installed.

    A value of ``BCC_KERNEL_SOURCE`` that the operator has set is left as it is.
    """
    trees = find_header_trees(Path("/usr/src"), Path("/lib/modules") / platform.release())
    if VARIABLE in os.environ or not trees:
        yield VARIABLE in os.environ
        return
    machine = platform.machine()
    architecture = {"x86_64": "x86", "aarch64": "arm64", "s390x": "s390"}.get(machine, machine)
    with TemporaryDirectory(prefix="culvert-headers-") as name:
        merged = Path(name)
        _link_children(merged, trees, "include")
        _link_children(merged, trees, f"arch/{architecture}/include")
        os.environ[VARIABLE] = name
        try:
            yield True
        finally:
            del os.environ[VARIABLE]
