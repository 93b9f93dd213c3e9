"""A MeshConfig on a real API server, in the maps and the proxy of a running node."""

from __future__ import annotations

import asyncio

import pytest
from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.mesh_node import MeshNode
from culvert.redirect import abi
from culvert.redirect.encode import CONFIG
from culvert.redirect.kernel import KernelMaps
from culvert.rig import Rig

from tests.kube.test_agent import is_steady, kubectl, node_of, status_when

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("definitions")]

LIMIT_SECONDS = 60.0
MESH_CONFIG = """
apiVersion: culvert.dev/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec: {acceleration: {receiveBudget: 1Mi}, accessLog: All}
"""


def budget_bytes(node: MeshNode) -> int:
    """The budget that the kernel's programs go by."""
    (pins,) = node.pins.glob("maps-*")
    with KernelMaps(pins) as maps:
        (value,) = maps.read()[CONFIG].values()
    return int(abi.Config.from_buffer_copy(value).budget_bytes)


async def budget_becomes(node: MeshNode, wanted: int) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while await asyncio.to_thread(budget_bytes, node) != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_a_mesh_config_takes_effect_in_a_running_node_and_ends_with_the_object(
    control_plane: ControlPlane,
) -> None:
    with Rig() as rig:
        async with node_of(rig, control_plane) as node:
            node.start_agent()
            node.start_envoy()
            await status_when(node, is_steady)
            default = await asyncio.to_thread(budget_bytes, node)
            await kubectl(control_plane, "apply", "-f", "-", stdin=MESH_CONFIG)
            try:
                await budget_becomes(node, 1 << 20)
                await status_when(node, is_steady)
            finally:
                await kubectl(control_plane, "delete", "meshconfig", "default")
            await budget_becomes(node, default)
            status = await status_when(node, is_steady)
            assert not [one for one in status.findings if one.subject.startswith("MeshConfig")]
