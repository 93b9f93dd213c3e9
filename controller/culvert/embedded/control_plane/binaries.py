"""Where the control plane's programs are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

KUBERNETES_VERSION = "v1.35.4"
"""What ``scripts/kubernetes/build`` builds."""

BUILT = ("kube-apiserver", "kube-controller-manager", "kubectl")


class MissingProgramError(Exception):
    """A program is not on this machine; says which, and how to get it."""


def assets_directory() -> Path:
    """``$KUBEBUILDER_ASSETS`` if it is set, else where ``scripts/kubernetes/build`` puts them."""
    if given := os.environ.get("KUBEBUILDER_ASSETS"):
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "culvert" / "kubernetes" / KUBERNETES_VERSION


def find_program(name: str) -> Path:
    """The program of that name: from the assets, or from the search path for etcd and its client.

    Raises:
        MissingProgramError: it is in neither.
    """
    asset = assets_directory() / name
    if asset.is_file():
        return asset
    if name not in BUILT and (found := shutil.which(name)):
        return Path(found)
    remedy = (
        "run scripts/kubernetes/build"
        if name in BUILT
        else "run scripts/setup --with-kubernetes, or install the package etcd-server"
    )
    raise MissingProgramError(f"{name} is not in {assets_directory()}: {remedy}")
