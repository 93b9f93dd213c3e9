"""What a controller writes over a version that is there no more changes nothing."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any, cast

import pytest
from culvert.control.lease import Lease, lease_patch, new_lease
from culvert.control.publication import keep_published
from culvert.embedded.control_plane import ControlPlane
from culvert.kube.client import KubeClient
from culvert.kube.errors import ApiError
from culvert.model.leader import LeaderEntry

OLD, NEW = LeaderEntry("OLD", ("10.0.0.1", 1)), LeaderEntry("NEW", ("10.0.0.2", 2))


class Overtaken:
    """The API as a leader sees it whose requests to write wait while others write."""

    def __init__(self, api: KubeClient) -> None:
        self._api = api
        self.asked, self.sent = asyncio.Event(), asyncio.Event()
        self.may_go = asyncio.Event()

    async def get(self, path: str) -> bytes:
        """As it is."""
        return await self._api.get(path)

    async def apply(self, path: str, body: Any, *, field_manager: str) -> bytes:
        """Later."""
        self.asked.set()
        await self.may_go.wait()
        try:
            return await self._api.apply(path, body, field_manager=field_manager)
        finally:
            self.sent.set()


async def published(api: KubeClient, path: str) -> Any:
    with suppress(ApiError):
        return json.loads(await api.get(path)).get("data")
    return None


@pytest.mark.parametrize("is_there", [True, False], ids=["over the chart's", "where none was"])
async def test_entry_of_an_old_leader_that_comes_late_does_not_replace_the_new_ones(
    control_plane: ControlPlane, namespace: str, is_there: bool
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    async with KubeClient.from_kubeconfig(control_plane.kubeconfig) as api:
        if is_there:
            await api.create(path, {"metadata": {"name": "c-ca"}})
        overtaken = Overtaken(api)
        old = asyncio.create_task(keep_published(cast(KubeClient, overtaken), namespace, "c", OLD))
        await overtaken.asked.wait()
        new = asyncio.create_task(keep_published(api, namespace, "c", NEW))
        async with asyncio.timeout(60):
            while await published(api, f"{path}/c-ca") != NEW.data():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        overtaken.may_go.set()
        await overtaken.sent.wait()
        assert await published(api, f"{path}/c-ca") == NEW.data()
        for task in (old, new):
            task.cancel()
        await asyncio.gather(old, new, return_exceptions=True)


async def test_lease_is_not_renewed_over_what_another_wrote(
    control_plane: ControlPlane, namespace: str
) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    async with KubeClient.from_kubeconfig(control_plane.kubeconfig) as api:
        made = json.loads(await api.create(path, new_lease(namespace, "c", Lease("one"))))
        version = made["metadata"]["resourceVersion"]
        await api.merge_patch(f"{path}/c", lease_patch(version, Lease("two")))
        with pytest.raises(ApiError) as refused:
            await api.merge_patch(f"{path}/c", lease_patch(version, Lease("one")))
        assert refused.value.status == 409
        assert json.loads(await api.get(f"{path}/c"))["spec"]["holderIdentity"] == "two"
