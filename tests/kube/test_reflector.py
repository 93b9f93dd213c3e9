"""Reflectors against a real API server: what a copy is worth when the server has its troubles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from culvert.kube.client import KubeClient
from culvert.kube.errors import ApiError, ApiUnreachable

from tests.kube.following import delete, followed, key, put, until, values


@pytest.fixture
async def api(control_plane: Any) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(control_plane.kubeconfig) as client:
        yield client


async def test_a_copy_follows_what_is_made_changed_and_deleted(
    api: KubeClient, namespace: str
) -> None:
    await put(api, namespace, "a", "1")
    async with followed(api, namespace) as reflector:
        await until(lambda: values(reflector).get("a") == "1")
        await put(api, namespace, "b", "1")
        await put(api, namespace, "a", "2")
        await until(lambda: values(reflector) == {"a": "2", "b": "1"} | _root(reflector))
        await delete(api, namespace, "a")
        await until(lambda: "a" not in values(reflector))
        assert reflector.health.lists == 1


async def test_a_list_comes_whole_from_many_pages(api: KubeClient, namespace: str) -> None:
    for number in range(7):
        await put(api, namespace, f"c{number}", "1")
    async with followed(api, namespace, page_objects=2, stream_lists=False) as reflector:
        assert {f"c{number}" for number in range(7)} <= set(values(reflector))


async def test_a_restart_of_the_server_in_the_middle_of_changes_loses_none(
    control_plane: Any, api: KubeClient, namespace: str
) -> None:
    async with followed(api, namespace) as reflector:
        await put(api, namespace, "stays", "1")
        await put(api, namespace, "goes", "1")
        await until(lambda: {"stays", "goes"} <= set(values(reflector)))
        stays = reflector.items[key(namespace, "stays")]
        restart = asyncio.create_task(asyncio.to_thread(control_plane.restart_api_server))
        written = 0
        while not restart.done():
            try:
                await put(api, namespace, "moving", str(written))
                written += 1
            except (ApiError, ApiUnreachable):
                await asyncio.sleep(0.02)
        await restart
        await put(api, namespace, "moving", "last")
        await delete(api, namespace, "goes")
        await until(lambda: values(reflector).get("moving") == "last")
        await until(lambda: "goes" not in values(reflector))
        assert reflector.items[key(namespace, "stays")] is stays
        assert reflector.health.failures > 0
        assert reflector.health.stale_since_seconds is None


async def test_while_the_server_is_away_the_copy_stays_and_health_says_so(
    control_plane: Any, api: KubeClient, namespace: str
) -> None:
    await put(api, namespace, "a", "1")
    async with followed(api, namespace) as reflector:
        before = reflector.items
        await asyncio.to_thread(control_plane.stop_api_server)
        try:
            await until(lambda: reflector.health.stale_since_seconds is not None)
            assert reflector.items is before
            assert reflector.health.error
        finally:
            await asyncio.to_thread(control_plane.start_api_server)
        await until(lambda: reflector.health.stale_since_seconds is None)
        assert reflector.items is before


async def test_after_a_compaction_that_a_watch_slept_through_the_copy_is_listed_anew(
    control_plane: Any, api: KubeClient, namespace: str
) -> None:
    await put(api, namespace, "stays", "1")
    await put(api, namespace, "goes", "1")
    async with followed(api, namespace) as reflector:
        stays = reflector.items[key(namespace, "stays")]
        await asyncio.to_thread(control_plane.stop_api_server)
        await until(lambda: reflector.health.stale_since_seconds is not None)
        await asyncio.to_thread(control_plane.start_api_server)
        async with asyncio.timeout(60):
            await delete(api, namespace, "goes")
        await asyncio.to_thread(control_plane.compact_etcd)
        # The restarted server's memory of changes begins after what the copy saw last.
        await asyncio.to_thread(control_plane.restart_api_server)
        await put(api, namespace, "new", "1")
        await until(lambda: values(reflector).keys() >= {"stays", "new"})
        await until(lambda: "goes" not in values(reflector))
        assert reflector.items[key(namespace, "stays")] is stays


async def test_a_watch_from_a_compacted_version_is_refused_and_listed_anew(
    control_plane: Any, api: KubeClient, namespace: str
) -> None:
    await put(api, namespace, "a", "1")
    async with followed(api, namespace) as reflector:
        await asyncio.to_thread(control_plane.compact_etcd)
        # As if the watch had been away for longer than the server remembers.
        reflector._listing._version = "1"
        await asyncio.to_thread(control_plane.restart_api_server)
        await put(api, namespace, "a", "2")
        await until(lambda: values(reflector).get("a") == "2")
        assert reflector.health.lists == 2


def _root(reflector: Any) -> dict[str, str]:
    """What the controller manager puts into every namespace."""
    return {name: value for name, value in values(reflector).items() if name.startswith("kube-")}
