"""The charts as a release in a test's cluster, and what runs of it on the nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.helm import CHARTS, rig_values
from culvert.embedded.helm import SYSTEM_NAMESPACE as SYSTEM
from culvert.embedded.helm import helm as run_helm
from culvert.embedded.kube_cluster import KubeCluster

from tests.kube.cluster import kubectl

CHART = CHARTS / "culvert"
AGENT, PROXY = "daemonset/culvert-agent", "daemonset/culvert-proxy"
CONTROLLER = "deployment/culvert-controller"


async def helm(plane: ControlPlane, *arguments: str) -> str:
    """What it prints; a failure fails the test."""
    return await asyncio.to_thread(run_helm, plane, *arguments)


@asynccontextmanager
async def installed(
    cluster: KubeCluster,
    chart: Path = CHART,
    parts: tuple[str, ...] = (AGENT, PROXY, CONTROLLER),
    values: Sequence[str] = (),
) -> AsyncIterator[list[str]]:
    """Both charts, until leaving; gives the values that an upgrade repeats, with those given."""
    plane, values = cluster.plane, [*rig_values(cluster.rig), *values]
    await helm(plane, "install", "crds", str(CHARTS / "culvert-crds"), "--create-namespace")
    try:
        await helm(plane, "install", "culvert", str(chart), *values)
        try:
            await rolled_out(plane, *parts)
            yield values
        finally:
            await helm(plane, "uninstall", "culvert", "--wait", "--timeout=120s")
    finally:
        await helm(plane, "uninstall", "crds")
        await kubectl(
            plane, "delete", "--ignore-not-found", "-f", str(CHARTS / "culvert-crds/files")
        )


async def rolled_out(plane: ControlPlane, *parts: str) -> None:
    """Wait until parts of the release are as they should be."""
    rollout = ("--namespace", SYSTEM, "rollout", "status", "--timeout=120s")
    for part in parts:
        done = await asyncio.to_thread(plane.kubectl, *rollout, part)
        assert done.returncode == 0, done.stderr + await asyncio.to_thread(_told, plane, part)


def _told(plane: ControlPlane, part: str) -> str:
    """The pods of the release, and the last that one of a part's has said."""
    pods = plane.kubectl("--namespace", SYSTEM, "get", "pods", "--output=wide").stdout
    logs = plane.kubectl(
        "--namespace", SYSTEM, "logs", part, "--all-containers", "--tail=20", "--ignore-errors"
    )
    return f"{pods}{logs.stdout}{logs.stderr}"


def processes(cluster: KubeCluster, part: str) -> dict[str, int]:
    """Node -> process of the one container of the part's pod there."""
    found = {}
    for name, node in cluster.rig.nodes.items():
        for pod in list(node.pods.values()):
            if pod.name.startswith(f"culvert-{part}-"):
                container = "agent" if part == "agent" else "envoy"
                pids = (pod.cgroup / container / "cgroup.procs").read_text().split()
                found[name] = int(pids[0])
    return found
