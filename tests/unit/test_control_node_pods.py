"""Which service accounts a node has pods of, against what an API server answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest
from culvert.control import node_pods
from culvert.control.node_pods import PAUSE_SECONDS, REMEMBER_SECONDS, NodePods
from culvert.kube.client import KubeClient
from culvert.kube.errors import ApiError, ApiUnreachable
from culvert.model.identity import Identity
from culvert.model.refusal import RefusedError

from tests.unit.virtual_time import run

CLERK = Identity("cluster.local", "shop", "clerk")
COOK = Identity("cluster.local", "shop", "cook")
OF_CLERK, OF_COOK = ("shop", "clerk"), ("shop", "cook")


def pod(account: str = "clerk", node: str = "node-a", phase: str = "Running") -> dict[str, Any]:
    spec = {"nodeName": node, "serviceAccountName": account}
    return {"metadata": {"namespace": "shop"}, "spec": spec, "status": {"phase": phase}}


@dataclass
class Api:
    """A store, and a cache that may lag behind it."""

    pods: list[dict[str, Any]] = field(default_factory=lambda: [pod()])
    cached: list[dict[str, Any]] | None = None
    error: Exception | None = None
    asked: list[str] = field(default_factory=list)

    async def get(self, path: str, params: dict[str, str]) -> bytes:
        assert path == "/api/v1/pods"
        assert params["fieldSelector"] == "spec.nodeName=node-a"
        is_cache = params.get("resourceVersion") == "0"
        self.asked.append("cache" if is_cache else "store")
        # What comes meanwhile is not in the answer.
        found = self.cached if is_cache and self.cached is not None else list(self.pods)
        await asyncio.sleep(0.1)
        if self.error:
            raise self.error
        return msgspec.json.encode({"items": found})

    def node_pods(self) -> NodePods:
        return NodePods(cast(KubeClient, self))


def test_accounts_are_those_of_unfinished_pods_on_the_node() -> None:
    pods = [
        pod("clerk"),
        pod("", phase="Pending"),
        pod("done", phase="Succeeded"),
        pod("broken", phase="Failed"),
        pod("elsewhere", node="node-b"),
    ]
    accounts = run(Api(pods).node_pods().accounts_on("node-a", CLERK))
    assert set(accounts) == {OF_CLERK, ("shop", "default")}


def test_many_requests_of_a_node_are_answered_by_one_list() -> None:
    async def scenario() -> None:
        api = Api([pod("clerk"), pod("cook")])
        pods = api.node_pods()
        for _ in range(3):
            both = (pods.accounts_on("node-a", one) for one in (CLERK, COOK, CLERK))
            await asyncio.gather(*both)
        assert api.asked == ["cache"]

    run(scenario())


def test_pod_that_is_new_is_found_though_the_cache_is_late() -> None:
    api = Api([pod("clerk"), pod("cook")], cached=[pod("clerk")])
    assert OF_COOK in run(api.node_pods().accounts_on("node-a", COOK))
    assert api.asked == ["cache", "store"]


def test_pod_that_came_after_the_last_list_is_found() -> None:
    async def scenario() -> None:
        api = Api()
        pods = api.node_pods()
        await pods.accounts_on("node-a", CLERK)
        api.pods.append(pod("cook"))
        assert OF_COOK in await pods.accounts_on("node-a", COOK)

    run(scenario())


def test_pod_that_comes_while_others_are_being_listed_is_found() -> None:
    async def scenario() -> None:
        api = Api()
        pods = api.node_pods()
        before = asyncio.create_task(pods.accounts_on("node-a", COOK))
        await asyncio.sleep(0.15)
        api.pods.append(pod("cook"))
        assert OF_COOK in await pods.accounts_on("node-a", COOK)
        assert OF_COOK not in await before

    run(scenario())


def test_account_without_a_pod_is_not_there_and_asking_for_it_is_slow() -> None:
    async def scenario() -> float:
        api = Api()
        pods = api.node_pods()
        for _ in range(5):
            assert OF_COOK not in await pods.accounts_on("node-a", COOK)
        assert api.asked == ["cache", "store"] * 5
        return asyncio.get_running_loop().time()

    assert run(scenario()) >= 4 * PAUSE_SECONDS


def test_pod_that_is_gone_is_soon_forgotten() -> None:
    async def scenario() -> None:
        api = Api()
        pods = api.node_pods()
        await pods.accounts_on("node-a", CLERK)
        api.pods.clear()
        await asyncio.sleep(REMEMBER_SECONDS + 1)
        assert OF_CLERK not in await pods.accounts_on("node-a", CLERK)

    run(scenario())


@pytest.mark.parametrize("error", [ApiUnreachable("away"), ApiError(500)], ids=str)
def test_when_the_api_server_cannot_be_asked_nobody_is_refused_for_good(error: Exception) -> None:
    async def scenario() -> None:
        api = Api(error=error)
        pods = api.node_pods()
        with pytest.raises(RefusedError) as refused:
            await pods.accounts_on("node-a", CLERK)
        assert (refused.value.status, refused.value.reason) == (503, "Unavailable")
        api.error = None
        assert OF_CLERK in await pods.accounts_on("node-a", CLERK)

    run(scenario())


def test_only_so_many_nodes_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_pods, "MAX_REMEMBERED", 2)

    async def scenario() -> None:
        api = Api()
        pods = api.node_pods()
        api.get = answer_for_any_node  # type: ignore[method-assign]
        for node in ("one", "two", "three", "one"):
            await pods.accounts_on(node, CLERK)
        assert asked == ["one", "two", "three", "one"]

    asked: list[str] = []

    async def answer_for_any_node(_path: str, params: dict[str, str]) -> bytes:
        node = params["fieldSelector"].removeprefix("spec.nodeName=")
        asked.append(node)
        return msgspec.json.encode({"items": [pod(node=node)]})

    run(scenario())
