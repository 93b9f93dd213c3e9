"""Idle connections in each variant, every time through proxies that have just started."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from culvert.sources.manifests import ManifestSource

from tests.bench.idle import IdleMemory, connections_possible, measure_idle
from tests.bench.scene import HTTP, MESH_NODE, TCP, Scene

# HTTP connections to the server are shared, opaque ones are not: the proxy has one for each.
_DESCRIPTORS_EACH = {HTTP: 1, TCP: 2}


@dataclass(frozen=True, slots=True)
class IdleCase:
    """One row: memory by variant."""

    server: str
    connections: int
    memory: dict[str, IdleMemory]


def measure_idle_cases(
    scene: Scene, program: Path, *, concurrency: int, said: Callable[[str], None]
) -> list[IdleCase]:
    """Every kind of server in every variant. ``program`` is the compiled ``idle.c``.

    Raises:
        LoadError: connections could not be opened.
    """
    cases = []
    for server, descriptors in _DESCRIPTORS_EACH.items():
        connections = connections_possible(descriptors)
        memory = {}
        for variant in scene.variants:
            said(f"{connections:,} idle connections, {server}, variant {variant}")
            route = scene.routes[variant, server]
            memory[variant] = measure_idle(
                program,
                route.client,
                route.address,
                route.port,
                connections,
                _restart(scene, variant, server, concurrency),
            )
        cases.append(IdleCase(server, connections, memory))
    return cases


def _restart(
    scene: Scene, variant: str, server: str, concurrency: int
) -> Callable[[], list[subprocess.Popen[bytes]]]:
    def nothing() -> list[subprocess.Popen[bytes]]:
        return []

    def sidecars() -> list[subprocess.Popen[bytes]]:
        world = ManifestSource((scene.town.manifests,)).read()
        processes = []
        for name in ("client-b", f"{server}-b"):
            sidecar = scene.sidecars[name]
            assert sidecar.process is not None
            sidecar.process.kill()
            sidecar.process.wait()
            sidecar.start(world, concurrency)
            processes.append(sidecar.process)
        return processes

    def node_proxy() -> list[subprocess.Popen[bytes]]:
        node = scene.town.mesh.nodes[MESH_NODE]
        node.kill_envoy()
        node.start_envoy()
        node.wait_ready()
        assert node.envoy is not None
        return [node.envoy]

    return {"a": nothing, "b": sidecars}.get(variant, node_proxy)
