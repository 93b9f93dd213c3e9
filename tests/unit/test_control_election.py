"""At no time do two lead, whatever becomes of requests; time is virtual."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

import msgspec
import pytest
import structlog
from culvert.control.election import Election, LeadershipLostError
from culvert.control.lease import DURATION_SECONDS, GIVE_UP_SECONDS
from culvert.kube.client import KubeClient
from culvert.kube.errors import ApiError, ApiUnreachable
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.virtual_time import run

NEVER = math.inf


@dataclass
class LeaseStore:
    """What the API server does for one Lease."""

    body: dict[str, Any] | None = None
    version: int = 0

    def get(self) -> bytes:
        if self.body is None:
            raise ApiError(404, "NotFound")
        return msgspec.json.encode(self.body)

    def create(self, body: dict[str, Any]) -> bytes:
        if self.body is not None:
            raise ApiError(409, "AlreadyExists")
        return self._put(body)

    def merge_patch(self, patch: dict[str, Any]) -> bytes:
        if self.body is None:
            raise ApiError(404, "NotFound")
        if patch["metadata"]["resourceVersion"] != str(self.version):
            raise ApiError(409, "Conflict")
        metadata = {**self.body["metadata"], **patch["metadata"]}
        return self._put({**self.body, "metadata": metadata, "spec": patch["spec"]})

    def _put(self, body: dict[str, Any]) -> bytes:
        self.version += 1
        metadata = {**body["metadata"], "resourceVersion": str(self.version)}
        self.body = {**body, "metadata": metadata}
        return self.get()

    @property
    def holder(self) -> str:
        return str(self.body["spec"]["holderIdentity"]) if self.body else ""


@dataclass
class Network:
    """One candidate's way to the store. ``delays`` gives the seconds there and back.

    A request that is on its way arrives, even if nobody waits for its answer any more.
    """

    store: LeaseStore
    delays: Callable[[], tuple[float, float]] = lambda: (0.01, 0.01)
    is_down: bool = False

    async def get(self, _path: str) -> bytes:
        return await self._call(self.store.get)

    async def create(self, _path: str, body: Any) -> bytes:
        return await self._call(lambda: self.store.create(body))

    async def merge_patch(self, _path: str, body: Any) -> bytes:
        return await self._call(lambda: self.store.merge_patch(body))

    async def _call(self, act: Callable[[], bytes]) -> bytes:
        if self.is_down:
            raise ApiUnreachable("down")
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bytes | ApiError] = loop.create_future()
        there, back = self.delays()

        def come_back(answer: bytes | ApiError) -> None:
            if not answered.done():
                answered.set_result(answer)

        def arrive() -> None:
            try:
                answer: bytes | ApiError = act()
            except ApiError as error:
                answer = error
            if back != NEVER:
                loop.call_later(back, come_back, answer)

        if there != NEVER:
            loop.call_later(there, arrive)
        answer = await answered
        if isinstance(answer, ApiError):
            raise answer
        return answer


@dataclass
class Leading:
    """Who leads, and when that began and ended."""

    now: list[str] = field(default_factory=list)
    log: list[tuple[float, str, str]] = field(default_factory=list)

    def work(self, name: str, seconds: float = 1e6) -> Callable[[], Any]:
        async def lead() -> None:
            clock = asyncio.get_running_loop().time
            self.now.append(name)
            self.log.append((clock(), "begins", name))
            try:
                assert self.now == [name], f"both lead: {self.log}"
                await asyncio.sleep(seconds)
            finally:
                self.now.remove(name)
                self.log.append((clock(), "ends", name))

        return lead

    def words(self) -> list[str]:
        return [f"{name} {what}" for _, what, name in self.log]


def candidate(network: Network, identity: str) -> Election:
    return Election(cast(KubeClient, network), namespace="n", name="c", identity=identity)


async def until(seconds: float, *leads: Any) -> list[Any]:
    """Let them be for so long, then end them; return what became of each."""
    tasks = [asyncio.ensure_future(one) for one in leads]
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_one_of_two_leads_and_gives_the_lease_back_when_it_ends() -> None:
    async def scenario() -> None:
        store, leading = LeaseStore(), Leading()
        one, two = (candidate(Network(store), name) for name in ("one", "two"))
        await until(100, one.lead(leading.work("one")), two.lead(leading.work("two")))
        assert len({name for _, _, name in leading.log}) == 1
        assert store.holder == ""

    run(scenario())


def test_lease_that_was_given_back_is_taken_at_the_next_look() -> None:
    async def scenario() -> None:
        store, leading = LeaseStore(), Leading()
        await candidate(Network(store), "one").lead(leading.work("one", seconds=30))
        await until(1, candidate(Network(store), "two").lead(leading.work("two")))
        assert leading.words() == ["one begins", "one ends", "two begins", "two ends"]

    run(scenario())


def test_leader_that_dies_without_a_word_is_replaced_when_its_lease_is_over() -> None:
    async def scenario() -> None:
        store, leading = LeaseStore(), Leading()
        network = Network(store)
        first = asyncio.create_task(candidate(network, "one").lead(leading.work("one")))
        await asyncio.sleep(10)
        network.is_down = True
        first.cancel()
        await asyncio.wait({first})
        assert store.holder == "one"
        await until(DURATION_SECONDS - 1, candidate(Network(store), "two").lead(leading.work("-")))
        assert store.holder == "one"
        await until(2 * DURATION_SECONDS, candidate(Network(store), "3").lead(leading.work("3")))
        assert leading.words()[2:] == ["3 begins", "3 ends"]

    run(scenario())


@pytest.mark.parametrize("delays", [(NEVER, NEVER), (0.0, NEVER)], ids=["lost", "unanswered"])
def test_leader_whose_renewal_hangs_ends_before_another_leads(delays: tuple[float, float]) -> None:
    async def scenario() -> None:
        store, leading = LeaseStore(), Leading()
        network = Network(store)
        one = asyncio.create_task(candidate(network, "one").lead(leading.work("one")))
        await asyncio.sleep(5)
        network.delays = lambda: delays
        two = candidate(Network(store), "two").lead(leading.work("two"))
        became = await until(60, one, two)
        assert isinstance(became[0], LeadershipLostError)
        assert leading.words()[:3] == ["one begins", "one ends", "two begins"]
        begun, ended = leading.log[0][0], leading.log[1][0]
        assert ended - begun <= 5 + GIVE_UP_SECONDS

    run(scenario())


def test_leader_whose_lease_another_has_taken_ends() -> None:
    async def scenario() -> None:
        store, leading = LeaseStore(), Leading()
        one = candidate(Network(store), "one")
        task = asyncio.create_task(one.lead(leading.work("one")))
        await asyncio.sleep(5)
        assert one.leads
        store.body = None
        store.create({"metadata": {"name": "c"}, "spec": {"holderIdentity": "two"}})
        (became,) = await until(3, task)
        assert isinstance(became, LeadershipLostError)
        assert not one.leads
        assert store.holder == "two"

    run(scenario())


def test_lease_that_is_deleted_is_made_again_by_the_leader() -> None:
    async def scenario() -> None:
        store, leading = LeaseStore(), Leading()
        one = asyncio.create_task(candidate(Network(store), "one").lead(leading.work("one")))
        await asyncio.sleep(5)
        store.body = None
        await asyncio.sleep(3)
        assert store.holder == "one"
        await until(1, one)
        assert leading.words() == ["one begins", "one ends"], "it led throughout"

    run(scenario())


def test_labels_of_the_lease_stay() -> None:
    async def scenario() -> None:
        store, leading = LeaseStore(), Leading()
        store.create({"metadata": {"name": "c", "labels": {"of": "the chart"}}, "spec": {}})
        await until(10, candidate(Network(store), "one").lead(leading.work("one")))
        assert store.body is not None
        assert store.body["metadata"]["labels"] == {"of": "the chart"}

    run(scenario())


def refusals(*statuses: int) -> Callable[[], bytes]:
    """What the API says each time, and that all is well from then on."""
    left = list(statuses)

    def answer() -> bytes:
        if left:
            raise ApiError(left.pop(0), "Refused", "no")
        return msgspec.json.encode({"metadata": {}, "spec": {}})

    return answer


def told(*statuses: int) -> list[dict[str, Any]]:
    """The warnings of a candidate whose tries fail with these."""

    async def scenario() -> None:
        store, leading = LeaseStore(), Leading()
        cast(Any, store).get = refusals(*statuses)
        await until(60, candidate(Network(store), "one").lead(leading.work("one")))

    with structlog.testing.capture_logs() as lines:
        run(scenario())
    return [dict(line) for line in lines if line["log_level"] == "warning"]


def test_first_failure_in_a_row_is_told_with_the_lease_and_the_remedy() -> None:
    (line,) = told(403, 403, 403)
    assert line["lease"] == "n/c"
    assert "403" in line["error"]
    assert "get, patch and create" in line["remedy"]
    (line,) = told(500)
    assert "API server" in line["remedy"]


def test_that_another_was_faster_is_no_failure() -> None:
    assert told(409, 409) == []
    assert len(told(409, 503, 409, 503)) == 1


def test_work_that_fails_is_told_and_the_lease_given_back() -> None:
    async def scenario() -> None:
        store = LeaseStore()

        async def fail() -> None:
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            await candidate(Network(store), "one").lead(fail)
        assert store.holder == ""

    run(scenario())


async def _live_and_die(
    name: str, store: LeaseStore, leading: Leading, chance: Random, seconds: float
) -> None:
    """Be a candidate again and again, over a network that is bad and worse, and crash now and then.

    Raises:
        AssertionError: another led at the same time.
    """
    clock = asyncio.get_running_loop().time
    for life in range(1000):
        if clock() >= seconds:
            return
        hangs_at = clock() + chance.uniform(0, 120)

        def delays(hangs_at: float = hangs_at) -> tuple[float, float]:
            if hangs_at <= clock() < hangs_at + 30:
                return chance.choice(((NEVER, NEVER), (0.0, NEVER), (chance.uniform(0, 30), 1.0)))
            return (chance.uniform(0, 3), chance.uniform(0, 3))

        network = Network(store, delays)
        identity = f"{name}-{life}"
        work = leading.work(identity, chance.choice((1e6, chance.uniform(0, 60))))
        task = asyncio.create_task(candidate(network, identity).lead(work))
        await asyncio.wait({task}, timeout=chance.uniform(1, 200))
        network.is_down = chance.random() < 0.5
        task.cancel()
        with suppress(asyncio.CancelledError, LeadershipLostError):
            await task


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_never_do_two_lead_and_somebody_does(seed: int) -> None:
    async def scenario() -> None:
        store, leading, chance = LeaseStore(), Leading(), Random(seed)
        await asyncio.gather(
            *(_live_and_die(name, store, leading, chance, 1500.0) for name in ("a", "b", "c"))
        )
        assert len(leading.log) > 4

    run(scenario())
