"""The writer of statuses, against an API that refuses some of them; time is virtual."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from culvert.control.status_writer import (
    OBJECT_PAUSE_SECONDS,
    REFUSED_PAUSE_SECONDS,
    StatusKey,
    StatusWriter,
    status_path,
)
from culvert.kube.client import KubeClient
from culvert.kube.errors import ApiError
from culvert.model.key import ObjectKey

from tests.unit.virtual_time import run


def policy(name: str) -> StatusKey:
    return StatusKey("TrafficPolicy", ObjectKey("shop", name))


ONE, BAD = policy("one"), policy("bad")


@dataclass
class StatusStore:
    """What was tried, and when; ``refusals`` are the answers for an object, one after the other."""

    refusals: dict[StatusKey, list[int]] = field(default_factory=dict)
    tries: list[tuple[str, float]] = field(default_factory=list)
    request_seconds: float = 0.0

    async def apply(self, path: str, _body: Any, *, field_manager: str) -> bytes:
        assert field_manager == "culvert-controller"
        await asyncio.sleep(self.request_seconds)
        self.tries.append((path, asyncio.get_running_loop().time()))
        for key, statuses in self.refusals.items():
            if path == status_path(key) and statuses:
                raise ApiError(statuses.pop(0))
        return b""

    def seconds_of(self, key: StatusKey) -> list[float]:
        return [at for path, at in self.tries if path == status_path(key)]


async def writing(
    store: StatusStore, marks: list[tuple[float, StatusKey]], seconds: float
) -> StatusWriter:
    """Run a writer for so long; objects are marked at their times (ascending)."""
    writer = StatusWriter(cast(KubeClient, store), lambda key: {"name": key.key.name})
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            tasks.create_task(writer.run())
            for at_seconds, key in marks:
                await asyncio.sleep(at_seconds - asyncio.get_running_loop().time())
                writer.mark(key)
    return writer


@pytest.mark.parametrize("status", [400, 403, 422])
def test_object_whose_status_is_refused_keeps_no_other_waiting(status: int) -> None:
    store = StatusStore({BAD: [status]})
    others = [policy(str(number)) for number in range(5)]
    run(writing(store, [(0.0, BAD), *((0.0, one) for one in others)], 1.0))
    assert [store.seconds_of(one) for one in others] == [[0.0]] * 5


def test_refused_status_is_tried_again_after_its_pause_however_often_it_is_marked() -> None:
    store = StatusStore({BAD: [422, 422]})
    marks = [(float(second), BAD) for second in range(20)]
    run(writing(store, marks, 2.5 * REFUSED_PAUSE_SECONDS))
    assert store.seconds_of(BAD) == [0.0, REFUSED_PAUSE_SECONDS, 2 * REFUSED_PAUSE_SECONDS]


def test_object_marked_while_it_is_written_waits_for_its_pause() -> None:
    store = StatusStore(request_seconds=0.5)
    run(writing(store, [(0.0, ONE), (0.25, ONE)], 10.0))
    assert store.seconds_of(ONE) == [0.5, 0.5 + OBJECT_PAUSE_SECONDS + 0.5]


@pytest.mark.parametrize("status", [404, 409])
def test_object_that_is_gone_or_another_is_left_alone(status: int) -> None:
    store = StatusStore({BAD: [status]})
    writer = run(writing(store, [(0.0, BAD)], 3 * REFUSED_PAUSE_SECONDS))
    assert store.seconds_of(BAD) == [0.0]
    assert writer.waiting == 0


@pytest.mark.parametrize("status", [429, 503])
def test_server_that_has_too_much_to_do_is_left_alone_for_a_while(status: int) -> None:
    store = StatusStore({BAD: [status]})
    run(writing(store, [(0.0, BAD), (0.0, ONE)], 10.0))
    assert store.seconds_of(BAD)[0] == 0.0
    assert min(store.seconds_of(ONE)) > 0.0
