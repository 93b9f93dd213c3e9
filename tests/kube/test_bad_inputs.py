"""Bad inputs on a real API server: their authors are told, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

import pytest
from culvert.compile.node import compile_node
from culvert.embedded.control_plane import ControlPlane
from culvert.kube.client import KubeClient
from culvert.kube.errors import ApiError
from culvert.model.conditions import NodeTally, conditions
from culvert.model.desired import Desired
from culvert.sources.kubernetes.source import KubernetesSource

from tests.kube.bad_inputs import NAMESPACE, Row, collection_path, read_rows

pytestmark = pytest.mark.usefixtures("definitions")

ROWS = read_rows()
NODE = "node-a"
WEB: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"ports": [{"name": "http", "port": 80}]},
}


def rows(*where: str) -> Iterable[Any]:
    return [pytest.param(row, id=str(row)) for row in ROWS if row.where in where]


@pytest.fixture
async def api(control_plane: ControlPlane) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(control_plane.kubeconfig) as client:
        yield client


async def create(api: KubeClient, namespace: str, body: Any) -> dict[str, Any]:
    """Make an object as kubectl would. A pod has to wait for its namespace's service account."""
    if body["kind"] == "Pod":
        await service_account(api, namespace)
    path = collection_path(body, namespace)
    return dict(json.loads(await api.create(path, body, {"fieldValidation": "Strict"})))


async def service_account(api: KubeClient, namespace: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
                return
            except ApiError:
                await asyncio.sleep(0.1)


async def desired_now(api: KubeClient) -> Desired:
    """What a node that has just started would hold."""
    async with asyncio.timeout(60), aclosing(KubernetesSource(api, node=NODE).watch()) as worlds:
        return compile_node(await anext(worlds), NODE)


def belonging_to(desired: Desired, namespace: str, address: str) -> set[tuple[str, str, str]]:
    """Type, name and version of everything that is there for a Service with this address."""
    return {
        (resource.type_url, resource.name, resource.version)
        for resources in desired.resources.values()
        for resource in resources.values()
        if f"{namespace}/web|" in resource.name or address in resource.name
    }


def told(desired: Desired, where: str, namespace: str) -> list[str]:
    """The texts about objects of a namespace."""
    if where == "finding":
        return [str(one) for one in desired.findings if f" {namespace}/" in one.subject]
    return [
        f"{condition.type} {condition.reason}: {condition.message}"
        for outcome in desired.outcomes
        if outcome.key.namespace == namespace
        for condition in conditions(outcome, NodeTally())
    ]


@pytest.mark.parametrize("row", rows("refused"))
async def test_the_api_server_refuses_it_and_says_why(row: Row, api: KubeClient) -> None:
    with pytest.raises(ApiError) as refusal:
        await create(api, "default", row.body)
    assert row.shown in refusal.value.message


@pytest.mark.parametrize("row", rows("condition", "finding"))
async def test_its_author_is_told_and_others_notice_nothing(
    row: Row, api: KubeClient, namespace: str
) -> None:
    web = await create(api, namespace, WEB)
    address = web["spec"]["clusterIP"]
    for body in row.given:
        await create(api, namespace, body)
    before = belonging_to(await desired_now(api), namespace, address)
    assert before
    await create(api, namespace, row.body)
    try:
        desired = await desired_now(api)
    finally:
        # A pod waits for its node to say that it has ended; there is none.
        pods = f"/api/v1/namespaces/{namespace}/pods"
        await api.delete(pods, {"gracePeriodSeconds": 0})
    assert belonging_to(desired, namespace, address) == before
    texts = [text.replace(namespace, NAMESPACE) for text in told(desired, row.where, namespace)]
    assert any(row.shown in text for text in texts), texts


def test_there_are_rows_enough_and_none_twice() -> None:
    assert len(ROWS) >= 40
    assert len({str(row) for row in ROWS}) == len(ROWS)
