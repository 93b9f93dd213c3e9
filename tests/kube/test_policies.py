"""Objects of ``culvert.dev`` from a real API server to what a node holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest
from culvert.embedded.control_plane import ControlPlane
from culvert.kube.client import KubeClient
from culvert.kube.reflector import Reflector
from culvert.model.key import ObjectKey
from culvert.model.world import World
from culvert.sources.kubernetes.kind import Kind
from culvert.sources.kubernetes.source import KubernetesSource

from tests.kube.definitions import definitions_of

LIMIT_SECONDS = 60.0
API = "/apis/culvert.dev/v1alpha1"


class Follower:
    """Worlds of a source, one after another."""

    def __init__(self, worlds: AsyncIterator[World]) -> None:
        self.world: World | None = None
        self._worlds = worlds

    async def until(self, holds: Callable[[World], bool]) -> World:
        async with asyncio.timeout(LIMIT_SECONDS):
            while self.world is None or not holds(self.world):
                self.world = await anext(self._worlds)
        return self.world


@asynccontextmanager
async def followed(plane: ControlPlane) -> AsyncIterator[tuple[KubeClient, Follower]]:
    """A client, and a source that looks often for kinds that are not there."""

    def reflector(api: Any, kind: Kind, changed: Callable[[], None]) -> Reflector[Any]:
        return Reflector(
            api,
            kind.path,
            kind.decode,
            changed=changed,
            field_selector=kind.field_selector,
            optional=kind.optional,
            absent_retry_seconds=0.2,
        )

    async with KubeClient.from_kubeconfig(plane.kubeconfig) as api:
        source = KubernetesSource(api, node="node-a", make_reflector=reflector)
        async with aclosing(source.watch()) as worlds:
            yield api, Follower(worlds)


def policy(name: str, seconds: int) -> dict[str, Any]:
    return {
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "TrafficPolicy",
        "metadata": {"name": name},
        "spec": {
            "targetRefs": [{"kind": "Service", "name": "web"}],
            "timeouts": {"request": f"{seconds}s"},
        },
    }


async def test_definitions_may_come_and_go_while_a_node_watches(
    control_plane: ControlPlane, namespace: str
) -> None:
    key = ObjectKey(namespace, "web")
    async with followed(control_plane) as (api, node):
        await node.until(lambda world: not world.traffic_policies)
        with ExitStack() as stack:
            await asyncio.to_thread(stack.enter_context, definitions_of(control_plane))
            path = f"{API}/namespaces/{namespace}/trafficpolicies"
            await api.create(path, policy("web", 3))
            world = await node.until(lambda world: key in world.traffic_policies)
            assert world.traffic_policies[key].traffic.request_timeout_seconds == 3
            assert world.traffic_policies[key].created_seconds > 0
            await asyncio.to_thread(stack.close)
        await node.until(lambda world: not world.traffic_policies)


@pytest.mark.usefixtures("definitions")
async def test_a_written_status_is_no_change_to_a_node(
    control_plane: ControlPlane, namespace: str
) -> None:
    path = f"{API}/namespaces/{namespace}/trafficpolicies"
    async with followed(control_plane) as (api, node):
        made = json.loads(await api.create(path, policy("web", 3)))
        key = ObjectKey(namespace, "web")
        world = await node.until(lambda world: key in world.traffic_policies)
        before = world.traffic_policies[key]
        condition = {
            "type": "Accepted",
            "status": "True",
            "reason": "Accepted",
            "message": "",
            "lastTransitionTime": made["metadata"]["creationTimestamp"],
        }
        await api.merge_patch(f"{path}/web/status", {"status": {"conditions": [condition]}})
        await api.create(path, policy("later", 3))
        later = ObjectKey(namespace, "later")
        world = await node.until(lambda world: later in world.traffic_policies)
        assert world.traffic_policies[key] is before


@pytest.mark.usefixtures("definitions")
async def test_the_mesh_config_is_the_one_called_default(control_plane: ControlPlane) -> None:
    async with followed(control_plane) as (api, node):
        body = {
            "apiVersion": "culvert.dev/v1alpha1",
            "kind": "MeshConfig",
            "metadata": {"name": "default"},
            "spec": {"failMode": "Open"},
        }
        await api.create(f"{API}/meshconfigs", body)
        try:
            world = await node.until(lambda world: world.mesh_config is not None)
            assert world.mesh_config is not None
            assert world.mesh_config.fail_open is True
        finally:
            await api.delete(f"{API}/meshconfigs/default")
        await node.until(lambda world: world.mesh_config is None)
