"""A real agent with a real Envoy and the real programs, fed by a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.mesh_node import MeshNode, MeshOptions
from culvert.model.redirect import address16
from culvert.redirect.encode import DESTINATIONS
from culvert.redirect.kernel import KernelMaps
from culvert.rig import Rig
from culvert.rig.kube.relay import Relay, listening_sockets
from culvert.status.document import AgentStatus

pytestmark = pytest.mark.kernel

API_PORT = 6443
LIMIT_SECONDS = 60.0

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: %s
  ports: [{name: http, port: 80}]
"""


@asynccontextmanager
async def node_of(rig: Rig, plane: ControlPlane) -> AsyncIterator[MeshNode]:
    """A node whose agent watches the API over a relay; nothing runs yet."""
    node = rig.add_node("node-a")
    kubeconfig = rig.directory / "kubeconfig"
    kubeconfig.write_text(
        plane.kubeconfig.read_text().replace(plane.url, f"https://{node.addresses.ipv4}:{API_PORT}")
    )
    running = MeshNode(
        node,
        rig_id=rig.rig_id,
        cgroup_root=rig.cgroup.parent,
        directory=Path(rig.directory) / "node-a",
        manifests=None,
        kubeconfig=kubeconfig,
        options=MeshOptions(),
    )
    async with Relay(listening_sockets(node, API_PORT), ("127.0.0.1", plane.port)):
        try:
            yield running
        finally:
            await asyncio.to_thread(running.close)


async def status_when(node: MeshNode, holds: Callable[[AgentStatus], bool]) -> AgentStatus:
    """The agent's status once something holds of it."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            try:
                status = await asyncio.to_thread(node.status)
            except OSError:
                status = None
            if status is not None and holds(status):
                return status
            await asyncio.sleep(0.05)


def destinations(status: AgentStatus) -> int:
    """Entries of the destinations map."""
    return next(one.entries for one in status.maps if one.name == "cv_destinations")


def is_steady(status: AgentStatus) -> bool:
    """Ready, with a proxy that has everything."""
    return status.ready and any(proxy.synced for proxy in status.proxies)


async def kubectl(plane: ControlPlane, *arguments: str, stdin: str | None = None) -> str:
    """What it prints; a failure fails the test."""
    done = await asyncio.to_thread(plane.kubectl, *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_service_of_the_api_is_captured_until_it_is_deleted(
    control_plane: ControlPlane, namespace: str
) -> None:
    with Rig() as rig:
        async with node_of(rig, control_plane) as node:
            node.start_agent()
            node.start_envoy()
            before = destinations(await status_when(node, is_steady))
            manifest = SERVICE % "10.96.77.1"
            await kubectl(control_plane, "apply", "-n", namespace, "-f", "-", stdin=manifest)
            await status_when(node, lambda now: destinations(now) == before + 1 and is_steady(now))
            await kubectl(control_plane, "delete", "-n", namespace, "service", "web")
            await status_when(node, lambda now: destinations(now) == before and is_steady(now))


async def test_outage_of_the_api_keeps_what_is_captured_and_is_shown(
    own_control_plane: ControlPlane,
) -> None:
    with Rig() as rig:
        async with node_of(rig, own_control_plane) as node:
            manifest = SERVICE % "10.96.77.2"
            await kubectl(own_control_plane, "apply", "-f", "-", stdin=manifest)
            node.start_agent()
            node.start_envoy()
            steady = await status_when(node, is_steady)
            assert steady.source.kind == "kubernetes"
            assert steady.source.stale_since_seconds == {}
            await asyncio.to_thread(own_control_plane.stop_api_server)
            try:
                stale = await status_when(node, lambda now: bool(now.source.stale_since_seconds))
                assert destinations(stale) == destinations(steady)
                assert stale.source.errors
            finally:
                await asyncio.to_thread(own_control_plane.start_api_server)
            back = await status_when(node, lambda now: not now.source.stale_since_seconds)
            assert back.generation == stale.generation, "what has not changed was applied again"


async def test_agent_that_starts_while_the_api_is_down_leaves_the_maps_alone(
    control_plane: ControlPlane, namespace: str
) -> None:
    with Rig() as rig:
        async with node_of(rig, control_plane) as node:
            manifest = SERVICE % "10.96.77.3"
            await kubectl(control_plane, "apply", "-n", namespace, "-f", "-", stdin=manifest)
            node.start_agent()
            node.start_envoy()
            await status_when(node, is_steady)
            assert await asyncio.to_thread(captures, node, "10.96.77.3")
            await asyncio.to_thread(control_plane.stop_api_server)
            try:
                node.kill_agent()
                node.start_agent()
                await status_when(node, lambda now: bool(now.source.errors))
                assert await asyncio.to_thread(captures, node, "10.96.77.3")
            finally:
                await asyncio.to_thread(control_plane.start_api_server)
            await status_when(node, is_steady)
            assert await asyncio.to_thread(captures, node, "10.96.77.3")


def captures(node: MeshNode, address: str) -> bool:
    """Whether the kernel's map has a destination of this address."""
    (pins,) = node.pins.glob("maps-*")
    with KernelMaps(pins) as maps:
        return any(key.startswith(address16(address)) for key in maps.read()[DESTINATIONS])
