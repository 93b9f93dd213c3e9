"""The leader's entry, against what an API server does for one ConfigMap; time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest
from culvert.control.lease import RETRY_SECONDS
from culvert.control.publication import LOOK_SECONDS, YIELD_SECONDS, keep_published
from culvert.control.status_writer import FIELD_MANAGER
from culvert.kube.client import KubeClient
from culvert.kube.errors import ApiError, ApiUnreachable
from culvert.model.leader import LeaderEntry

from tests.unit.virtual_time import run

OLD = LeaderEntry("OLD", ("10.0.0.1", 1))
NEW = LeaderEntry("NEW", ("10.0.0.2", 2))


@dataclass
class ConfigMapStore:
    """One ConfigMap; ``before_write`` is what others do just before a write arrives."""

    data: dict[str, str] | None = field(default_factory=dict)
    version: int = 1
    writes: list[str] = field(default_factory=list)
    before_write: Callable[[], None] = lambda: None
    failures: list[Exception] = field(default_factory=list)

    async def get(self, path: str) -> bytes:
        assert path == "/api/v1/namespaces/n/configmaps/c-ca"
        if self.failures:
            raise self.failures.pop(0)
        if self.data is None:
            raise ApiError(404, "NotFound")
        metadata = {"resourceVersion": str(self.version)}
        return msgspec.json.encode({"metadata": metadata, "data": self.data})

    async def apply(self, path: str, body: Any, *, field_manager: str) -> bytes:
        assert path == "/api/v1/namespaces/n/configmaps/c-ca"
        self.before_write()
        if "data" not in body:
            assert field_manager != FIELD_MANAGER, "it would take its entry away"
            if self.data is None:
                self.put({})
            return await self.get(path)
        if body["metadata"]["resourceVersion"] != str(self.version) or self.data is None:
            raise ApiError(409, "Conflict")
        self.put(body["data"])
        self.writes.append(body["data"]["ca.crt"])
        return await self.get(path)

    def put(self, data: dict[str, str] | None) -> None:
        self.data = data
        self.version += 1


async def publishing(store: ConfigMapStore, entry: LeaderEntry, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await keep_published(cast(KubeClient, store), "n", "c", entry)


def test_new_leader_replaces_its_predecessors_entry_at_once() -> None:
    store = ConfigMapStore(OLD.data())
    run(publishing(store, NEW, 0.001))
    assert store.data == NEW.data()


def test_entry_is_written_once_while_nobody_changes_it() -> None:
    store = ConfigMapStore()
    run(publishing(store, NEW, 20 * LOOK_SECONDS))
    assert store.writes == ["NEW"]


@pytest.mark.parametrize("left", [None, {}, {"ca.crt": ""}], ids=["deleted", "emptied", "blank"])
def test_entry_that_somebody_took_away_is_there_again_at_the_next_look(
    left: dict[str, str] | None,
) -> None:
    async def scenario() -> None:
        store = ConfigMapStore()
        task = asyncio.create_task(publishing(store, NEW, 1000))
        await asyncio.sleep(1)
        store.put(left)
        await asyncio.sleep(LOOK_SECONDS)
        assert store.data == NEW.data()
        task.cancel()

    run(scenario())


def test_old_leader_leaves_the_new_ones_entry_alone_until_it_has_ended() -> None:
    async def scenario() -> None:
        store = ConfigMapStore()
        old = asyncio.create_task(publishing(store, OLD, 1000))
        await asyncio.sleep(1)
        store.put(NEW.data())
        # It looks, and has its Lease looked at at least once, before it may write.
        await asyncio.sleep(LOOK_SECONDS + RETRY_SECONDS)
        old.cancel()
        assert store.data == NEW.data()
        assert store.writes == ["OLD"]

    run(scenario())


@pytest.mark.parametrize("data", [{}, None], ids=["over the chart's", "where none was"])
def test_old_leaders_write_that_comes_late_changes_nothing(data: dict[str, str] | None) -> None:
    async def scenario() -> None:
        store = ConfigMapStore(data)
        others = [NEW.data()]
        store.before_write = lambda: store.put(others.pop()) if others else None
        old = asyncio.create_task(publishing(store, OLD, RETRY_SECONDS))
        await old
        assert store.data == NEW.data()
        assert store.writes == []

    run(scenario())


def test_leader_that_still_leads_takes_back_what_another_wrote() -> None:
    async def scenario() -> None:
        store = ConfigMapStore()
        task = asyncio.create_task(publishing(store, NEW, 1000))
        await asyncio.sleep(1)
        store.put(OLD.data())
        await asyncio.sleep(LOOK_SECONDS + YIELD_SECONDS)
        assert store.data == NEW.data()
        task.cancel()

    run(scenario())


def test_failure_is_followed_by_another_try() -> None:
    store = ConfigMapStore(failures=[ApiUnreachable("away"), ApiError(403, "Forbidden")])
    run(publishing(store, NEW, LOOK_SECONDS))
    assert store.data == NEW.data()


def test_leader_gives_another_the_time_to_be_noticed() -> None:
    assert YIELD_SECONDS > 2 * RETRY_SECONDS
