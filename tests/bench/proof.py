"""Evidence that each variant went the way it is named for, from counters of kernel and proxies.

A benchmark whose traffic takes another way measures something else, and looks well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench.scene import MESH_NODE, PROTOCOL, Route, Scene
from tests.bench.wrk import LoadError, run_wrk

_CONNECTIONS = 4
_MOST_NOT_REDIRECTED = 0.05


class WrongWayError(Exception):
    """Traffic of a variant did not go where it should; says what was counted."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What one short load moved, by counter."""

    kernel: Mapping[str, int]
    proxied: Mapping[str, int]
    requests: int


def prove_ways(scene: Scene, server: str) -> dict[str, Counted]:
    """Send a short load each way and check what it moved.

    Raises:
        WrongWayError: a variant takes another way.
    """
    counted = {}
    for variant in scene.variants:
        counted[variant] = _count(scene, variant, server)
        problem = way_problem(variant, counted[variant])
        if problem:
            raise WrongWayError(f"variant {variant}, {server}: {problem}: {counted[variant]}")
    return counted


def way_problem(variant: str, counted: Counted) -> str:
    """What is wrong with the way that ``counted`` shows, or nothing."""
    redirected = counted.kernel["send_redirected"]
    by_tcp = sum(n for name, n in counted.kernel.items() if name.startswith("send_tcp_"))
    if variant in "ab":
        if any(counted.kernel.values()):
            return "the mesh saw it"
        sidecars = sum(1 for n in counted.proxied.values() if n >= _CONNECTIONS)
        if sidecars != (2 if variant == "b" else 0):
            return f"{sidecars} sidecars carried it"
        return ""
    if counted.kernel["connect_redirected"] < _CONNECTIONS:
        return "not captured"
    if counted.kernel["original_served"] < _CONNECTIONS:
        return "the proxy was not told where it was going"
    if variant == "c":
        return "accelerated" if redirected or counted.kernel["enrol_done"] else ""
    # Request and answer, on either side of the proxy: four sends that all leave TCP.
    if redirected < 4 * counted.requests * (1 - _MOST_NOT_REDIRECTED):
        return f"{redirected} sends redirected, {by_tcp} by TCP: not both hops"
    return ""


def _count(scene: Scene, variant: str, server: str) -> Counted:
    route = scene.routes[variant, server]
    kernel, proxied = _kernel(scene), _proxied(scene, server)
    requests = _load(route)
    return Counted(
        kernel={name: count - kernel[name] for name, count in _kernel(scene).items()},
        proxied={name: count - proxied[name] for name, count in _proxied(scene, server).items()},
        requests=requests,
    )


def _load(route: Route) -> int:
    report = run_wrk(route.client, f"{route.url}/1024", connections=_CONNECTIONS, seconds=1)
    if report.requests_per_second < _CONNECTIONS:
        raise LoadError(f"{route.url} hardly answers")
    return report.requests


def _kernel(scene: Scene) -> dict[str, int]:
    verdicts = scene.town.mesh.nodes[MESH_NODE].status().verdicts
    names = ("connect_redirected", "original_served", "enrol_done")
    return {
        name: one.count
        for name, one in verdicts.items()
        if name in names or name.startswith("send_")
    }


def _proxied(scene: Scene, server: str) -> dict[str, int]:
    """Connections each sidecar took, by pod."""
    return {
        name: sum(
            count
            for stat, count in sidecar.stats("downstream_cx_total$").items()
            if stat.startswith(f"{PROTOCOL[server]}.")
        )
        for name, sidecar in scene.sidecars.items()
    }
