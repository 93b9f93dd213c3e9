"""The project's charts, put into a cluster by Helm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from culvert.embedded.control_plane import ControlPlane
from culvert.rig.cgroup import find_mount
from culvert.rig.rig import Rig

CHARTS = Path(__file__).resolve().parents[3] / "charts"
SYSTEM_NAMESPACE = "culvert-system"
_SECONDS = 180


class HelmError(Exception):
    """Helm failed; holds what it said."""


def helm(plane: ControlPlane, *arguments: str) -> str:
    """Run it in the mesh's namespace and return what it prints. Blocks.

    Raises:
        HelmError: it failed, or is not there.
    """
    program = Path(sys.executable).with_name("helm")
    if not program.exists():
        raise HelmError("helm is not in the Python environment: make setup installs it")
    argv = [str(program), "--kubeconfig", str(plane.kubeconfig), "--namespace", SYSTEM_NAMESPACE]
    done = subprocess.run(
        [*argv, *arguments], capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    if done.returncode != 0:
        raise HelmError(f"helm {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def rig_values(rig: Rig) -> list[str]:
    """Options for Helm that say where the nodes of a rig have what the chart mounts."""
    mount = find_mount()
    (below,) = {
        str(node.pods_cgroup.relative_to(mount)).replace(node.name, "$(NODE_NAME)")
        for node in rig.nodes.values()
    }
    return [
        f"--set=node.cgroupRoot={mount}",
        f"--set=node.podsCgroup={below}",
        "--set=proxy.concurrency=1",
    ]
