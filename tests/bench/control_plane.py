"""The control plane in a large world: compile times, what one change pushes, and memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from culvert.compile.cache import CachedCompiler
from culvert.compile.node import compile_node
from culvert.embedded.mesh import LocalMesh
from culvert.embedded.mesh_node import MeshNode
from culvert.embedded.unix_http import fetch
from culvert.rig import Rig
from culvert.sources.manifests import ManifestSource
from prometheus_client.parser import text_string_to_metric_families

from tests.bench.large_world import write_large_world, write_service
from tests.bench.process_memory import (
    children,
    compiler_libraries,
    peak_resident_bytes,
    resident_bytes,
)

_NODE = "node-a"
_CHANGED_SERVICE = 501
_CHANGES = 9
_FULL_COMPILES = 5
_POLL_SECONDS = 0.001
_LIMIT_SECONDS = 120.0
_SETTLE_SECONDS = 3.0


class NotConvergedError(Exception):
    """The agent or its proxy did not take a world in time."""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Medians over repetitions. ``pushed_*`` are of one endpoint's change, per type of resource;
    ``change_seconds`` is from writing the manifest to Envoy's acknowledgement.
    """

    full_compile_seconds: float
    incremental_compile_seconds: float
    resource_bytes: dict[str, int]
    pushed_responses: dict[str, int]
    pushed_bytes: dict[str, int]
    change_seconds: float
    agent_bytes: int
    agent_peak_bytes: int
    envoy_bytes: int
    loader_peak_bytes: int
    agent_compiler_libraries: list[str]
    agent_children: int


def measure_control_plane(said: Callable[[str], None]) -> ControlPlane:
    """Build the world, compile it, then run a real agent and Envoy with it.

    Raises:
        NotConvergedError: an agent or proxy did not follow.
    """
    with Rig() as rig:
        node = rig.add_node(_NODE)
        folder = rig.directory / "large"
        folder.mkdir()
        write_large_world(folder, _NODE)
        said("compiling 1,000 Services with 10 endpoints each")
        full, sizes = _full_compile(folder)
        incremental = _incremental_compile(folder)
        said("an agent and its Envoy take the same world")
        with LocalMesh(rig, folder) as mesh:
            mesh_node = mesh.add(node)
            mesh_node.start_agent()
            mesh_node.start_envoy()
            loader_peak = _watch_loader(mesh_node)
            mesh_node.wait_ready(_LIMIT_SECONDS)
            changes = [_change(mesh_node, folder, number) for number in range(_CHANGES)]
            assert mesh_node.agent is not None
            assert mesh_node.envoy is not None
            time.sleep(_SETTLE_SECONDS)
            pid = mesh_node.agent.pid
            return ControlPlane(
                full_compile_seconds=full,
                incremental_compile_seconds=incremental,
                resource_bytes=sizes,
                pushed_responses=changes[-1].responses,
                pushed_bytes=changes[-1].bytes,
                change_seconds=statistics.median(one.seconds for one in changes),
                agent_bytes=resident_bytes(mesh_node.agent),
                agent_peak_bytes=peak_resident_bytes(pid),
                envoy_bytes=resident_bytes(mesh_node.envoy),
                loader_peak_bytes=loader_peak,
                agent_compiler_libraries=compiler_libraries(pid),
                agent_children=len(children(pid)),
            )


def _full_compile(folder: Path) -> tuple[float, dict[str, int]]:
    world = ManifestSource([folder]).read()
    times = []
    for _ in range(_FULL_COMPILES):
        start = time.perf_counter()
        desired = compile_node(world, _NODE)
        times.append(time.perf_counter() - start)
    sizes = {
        type_url.rsplit(".", 1)[-1]: sum(len(one.body) for one in resources.values())
        for type_url, resources in desired.resources.items()
    }
    return statistics.median(times), sizes


def _incremental_compile(folder: Path) -> float:
    source = ManifestSource([folder])
    compiler = CachedCompiler(_NODE)
    compiler.compile(source.read())
    times = []
    for number in range(_CHANGES):
        write_service(folder, _CHANGED_SERVICE, _NODE, unready=frozenset({number}))
        world = source.read()
        start = time.perf_counter()
        compiler.compile(world)
        times.append(time.perf_counter() - start)
    write_service(folder, _CHANGED_SERVICE, _NODE)
    return statistics.median(times)


@dataclass(frozen=True, slots=True)
class _Change:
    seconds: float
    responses: dict[str, int]
    bytes: dict[str, int]


def _change(node: MeshNode, folder: Path, number: int) -> _Change:
    """One endpoint becomes ready or stops being so."""
    unready = frozenset({0}) if number % 2 == 0 else frozenset[int]()
    responses, sizes = _pushed(node)
    generation = node.status().generation
    start = time.perf_counter()
    write_service(folder, _CHANGED_SERVICE, _NODE, unready=unready)
    while True:
        status = node.status()
        if status.generation > generation and status.ready:
            break
        if time.perf_counter() - start > _LIMIT_SECONDS:
            raise NotConvergedError("one endpoint's change did not reach the proxy")
        time.sleep(_POLL_SECONDS)
    seconds = time.perf_counter() - start
    responses_after, sizes_after = _pushed(node)
    return _Change(seconds, _grown(responses, responses_after), _grown(sizes, sizes_after))


def _grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    grown = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: count for name, count in sorted(grown.items()) if count}


def _pushed(node: MeshNode) -> tuple[dict[str, int], dict[str, int]]:
    """Responses and bytes sent so far, by type of resource."""
    _, body = fetch(node.status_socket, "/metrics")
    responses: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            if sample.name == "culvert_xds_pushed_bytes_total":
                sizes[sample.labels["type"]] = int(sample.value)
            elif sample.name == "culvert_xds_pushes_total" and sample.labels["result"] == "sent":
                responses[sample.labels["type"]] = int(sample.value)
    return responses, sizes


def _watch_loader(node: MeshNode) -> int:
    """Bytes that the agent's loader occupied at most; returns when the agent answers."""
    assert node.agent is not None
    peak = 0
    deadline = time.monotonic() + _LIMIT_SECONDS
    while time.monotonic() < deadline:
        for pid in children(node.agent.pid):
            try:
                peak = max(peak, peak_resident_bytes(pid))
            except OSError:
                continue
        try:
            if node.status().ready:
                return peak
        except OSError:
            pass
        time.sleep(0.01)
    raise NotConvergedError("the agent did not become ready")
