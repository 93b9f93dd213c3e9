"""The writer of Events, against an API that refuses some of them; time is virtual."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import msgspec
import pytest
from culvert.control.event_key import EventKey, standing_events
from culvert.control.event_schedule import MAX_RETRY_SECONDS, REFRESH_SECONDS
from culvert.control.event_writer import EventWriter
from culvert.kube.client import KubeClient
from culvert.kube.errors import ApiError, ApiUnreachable
from culvert.model.report import ReportedFinding

from tests.unit.virtual_time import run


def standing(*names: str) -> Mapping[EventKey, ReportedFinding]:
    """One finding on a Service for each name."""
    findings = [ReportedFinding("CV0401", f"Service shop/{name}", "", "bad", "") for name in names]
    return standing_events(findings, lambda *_: ())


@dataclass
class EventStore:
    """Events by the name of the object; ``refuse`` is called before one is made."""

    refuse: Callable[[str], None] = lambda _: None
    tries: list[tuple[str, float]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    repeated: Counter[str] = field(default_factory=Counter)

    async def get(self, path: str) -> bytes:
        if "/events/" not in path:
            return msgspec.json.encode({"metadata": {"name": "x", "uid": path}})
        return msgspec.json.encode({"eventTime": "2026-01-01T00:00:00.000000Z"})

    async def create(self, path: str, body: Any) -> bytes:
        assert path == "/apis/events.k8s.io/v1/namespaces/shop/events"
        name = body["regarding"]["name"]
        self.tries.append((name, asyncio.get_running_loop().time()))
        self.refuse(name)
        if body["metadata"]["name"] in self.names:
            raise ApiError(409, "AlreadyExists")
        self.names.add(body["metadata"]["name"])
        return b""

    async def merge_patch(self, path: str, _body: Any) -> bytes:
        self.repeated[path.rpartition("/")[2].partition(".")[0]] += 1
        return b""

    def seconds_of(self, name: str) -> list[float]:
        return [at for tried, at in self.tries if tried == name]


async def saying(
    store: EventStore, seconds: float, *stands: Mapping[EventKey, ReportedFinding]
) -> Counter[str]:
    """Run a writer for so long, with what stands one after the other, a second each."""
    results: Counter[str] = Counter()
    writer = EventWriter(cast(KubeClient, store), "one", lambda result: results.update([result]))
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            tasks.create_task(writer.run())
            for one in stands:
                writer.stand(one)
                await asyncio.sleep(1.0)
    return results


def refusing(bad: str, error: Exception, times: int = 1_000_000) -> Callable[[str], None]:
    left = [times]

    def refuse(name: str) -> None:
        if name == bad and left[0]:
            left[0] -= 1
            raise error

    return refuse


@pytest.mark.parametrize("status", [500, 503, 504])
def test_event_that_the_server_cannot_take_keeps_no_other_waiting(status: int) -> None:
    store = EventStore(refusing("bad", ApiError(status)))
    run(saying(store, 5.0, standing("bad", "one", "two")))
    assert (store.seconds_of("one"), store.seconds_of("two")) == ([0.0], [0.0])
    assert len(store.seconds_of("bad")) > 1


def test_event_that_fails_on_and_on_is_tried_less_and_less_often() -> None:
    store = EventStore(refusing("bad", ApiError(500)))
    run(saying(store, 20 * MAX_RETRY_SECONDS, standing("bad")))
    tries = store.seconds_of("bad")
    pauses = [after - before for before, after in pairwise(tries)]
    assert max(pauses[:3]) < min(pauses[-3:])
    assert max(pauses) <= MAX_RETRY_SECONDS


def test_event_that_failed_is_said_when_the_server_takes_it() -> None:
    store = EventStore(refusing("bad", ApiError(500), times=2))
    assert run(saying(store, REFRESH_SECONDS, standing("bad"))) == {"failed": 2, "created": 1}


def test_server_asks_for_time_and_gets_it() -> None:
    store = EventStore(refusing("bad", ApiError(429, retry_after_seconds=20.0), times=1))
    run(saying(store, 100.0, standing("bad", "one")))
    assert min(store.seconds_of("one")) >= 20.0
    assert store.seconds_of("bad")[1] >= 20.0


def test_answer_that_does_not_come_for_one_event_does_not_keep_the_others_from_being_tried() -> (
    None
):
    store = EventStore(refusing("bad", ApiUnreachable("no answer")))
    run(saying(store, 100.0, standing("bad", "one")))
    assert len(store.seconds_of("one")) == 1


def test_refused_event_is_not_tried_again_soon() -> None:
    store = EventStore(refusing("bad", ApiError(404)))
    assert run(saying(store, REFRESH_SECONDS - 1, standing("bad"))) == {"refused": 1}


def test_finding_that_stands_is_repeated_after_its_time() -> None:
    store = EventStore()
    results = run(saying(store, 2.5 * REFRESH_SECONDS, standing("one")))
    assert results == {"created": 1, "repeated": 2}
    assert store.repeated == {"one": 2}


def test_finding_that_is_new_is_said_at_once_and_one_that_stands_not_again() -> None:
    store = EventStore()
    run(saying(store, 10.0, standing("one"), standing("one", "two")))
    assert store.tries == [("one", 0.0), ("two", 1.0)]


def test_finding_that_went_before_its_turn_is_not_said() -> None:
    store = EventStore()
    many = [f"n{number}" for number in range(40)]
    run(saying(store, 100.0, standing(*many), standing(*many[:20])))
    assert {name for name, _ in store.tries}.isdisjoint(many[35:])
