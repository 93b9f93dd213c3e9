"""The sender against a real server with TLS on loopback; its pauses take no time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import structlog
from aiohttp import web
from culvert.control.serving_certificate import ServingCertificate, make_serving_certificate
from culvert.kube.client import KubeClient
from culvert.kube.errors import ApiUnreachable
from culvert.leader.connection import ControllerAccess
from culvert.model.leader import LeaderEntry
from culvert.model.refusal import Refusal
from culvert.model.report import (
    REPORTS_PATH,
    Acknowledgement,
    NodeReport,
    ObjectReport,
    ObjectState,
)
from culvert.reports.sender import ReportSender
from culvert.reports.session import NodeState

NAMESPACE, SERVICE = "culvert-system", "culvert-controller"
NEVER_SO_MANY_PAUSES = 500
LOOK_SECONDS = 1.5
"""The longest pause between two looks for news."""

TAKEN = (200, Acknowledgement(spread_seconds=0.0, heartbeat_seconds=5.0))
SEND_FULL = (409, Refusal(reason="SendFull", message="report in full"))
UNAVAILABLE = (503, Refusal(reason="Unavailable", message="not now"))
UNAUTHENTICATED = (401, Refusal(reason="Unauthenticated", message="not a good token"))
Answer = tuple[int, Acknowledgement | Refusal | str]


def state(how: ObjectState) -> NodeState:
    report = ObjectReport("TrafficPolicy", "shop", "web", "u", 1, how)
    return NodeState({report.id: report})


PENDING, PROGRAMMED = state(ObjectState.PENDING), state(ObjectState.PROGRAMMED)


class _DoneError(Exception):
    """The sender has done what it was to do."""


@dataclass
class World:
    """A controller that gives the answers it was told to, and the rest of an agent's world."""

    token: Path
    answers: list[Answer] = field(default_factory=list)
    entries: list[LeaderEntry] = field(default_factory=list)
    """What the ConfigMap holds: the next each time it is read, and the last from then on."""
    api_error: Exception | None = None
    address: tuple[str, int] | None = None
    state: NodeState | None = PENDING
    now_seconds: float = 0.0
    reports: list[NodeReport] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    pauses_seconds: list[float] = field(default_factory=list)
    reads: int = 0
    on_report: Callable[[], None] = lambda: None

    async def answer(self, request: web.Request) -> web.Response:
        self.reports.append(msgspec.json.decode(await request.read(), type=NodeReport))
        self.tokens.append(request.headers["Authorization"])
        self.on_report()
        status, body = self.answers.pop(0) if self.answers else TAKEN
        return web.Response(status=status, body=msgspec.json.encode(body))

    async def get(self, path: str, params: dict[str, str]) -> bytes:
        assert path == f"/api/v1/namespaces/{NAMESPACE}/configmaps/{SERVICE}-ca"
        assert params == {"resourceVersion": "0"}, "from the API server's memory"
        if self.api_error:
            raise self.api_error
        self.reads += 1
        entry = self.entries[0]
        if len(self.entries) > 1:
            del self.entries[0]
        return msgspec.json.encode({"data": entry.data()})

    async def run(self, until: Callable[[ReportSender], bool]) -> ReportSender:
        """Run the sender until something is so when it pauses."""

        async def pause(seconds: float) -> None:
            if until(sender):
                raise _DoneError
            assert len(self.pauses_seconds) < NEVER_SO_MANY_PAUSES, sender.status
            self.pauses_seconds.append(seconds)
            self.now_seconds += seconds
            await asyncio.sleep(0)

        sender = ReportSender(
            cast(KubeClient, self),
            ControllerAccess(NAMESPACE, SERVICE, self.token),
            "node-a",
            state=lambda: self.state,
            address=lambda: self.address,
            unix_seconds=lambda: 1e9,
            monotonic_seconds=lambda: self.now_seconds,
            sleep=pause,
        )
        with suppress(_DoneError):
            await sender.run()
        return sender

    async def run_reports(self, count: int) -> ReportSender:
        """Run the sender until it has been answered so often, and has taken the answer."""
        return await self.run(lambda _: len(self.reports) >= count)


@asynccontextmanager
async def controller(
    tmp_path: Path, *answers: Answer, serving: ServingCertificate | None = None
) -> AsyncIterator[World]:
    serving = serving or make_serving_certificate(NAMESPACE, SERVICE)
    world = World(tmp_path / "token", list(answers), [LeaderEntry(serving.certificate)])
    world.token.write_text("secret\n")
    application = web.Application()
    application.router.add_post(REPORTS_PATH, world.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving.context).start()
        world.address = runner.addresses[0]
        yield world
    finally:
        await runner.cleanup()


async def test_first_report_is_full_with_the_token_of_the_pod(tmp_path: Path) -> None:
    async with controller(tmp_path) as world:
        sender = await world.run_reports(1)
        assert world.reports[0].full
        assert world.reports[0].objects == tuple(PENDING.objects.values())
        assert world.tokens == ["Bearer secret"]
        assert sender.status.acknowledged_seconds == 1e9
        assert sender.status.error == ""


async def test_change_is_reported_alone_and_heartbeats_are_empty(tmp_path: Path) -> None:
    async with controller(tmp_path) as world:

        def change() -> None:
            world.state = PROGRAMMED

        world.on_report = change
        await world.run_reports(3)
        change_report, heartbeat = world.reports[1:]
        assert not change_report.full
        assert [one.state for one in change_report.objects] == [ObjectState.PROGRAMMED]
        assert (heartbeat.objects, heartbeat.base) == ((), 2)


async def test_heartbeat_comes_as_often_as_the_controller_asks(tmp_path: Path) -> None:
    asked = (200, Acknowledgement(spread_seconds=0.0, heartbeat_seconds=30.0))
    async with controller(tmp_path, asked, asked) as world:
        times: list[float] = []
        world.on_report = lambda: times.append(world.now_seconds)
        await world.run_reports(2)
        assert 0.8 * 30.0 <= times[1] - times[0] <= 30.0 + LOOK_SECONDS


async def test_news_of_all_nodes_is_spread_and_news_meanwhile_goes_along(tmp_path: Path) -> None:
    spread = (200, Acknowledgement(spread_seconds=1000.0, heartbeat_seconds=60.0))
    async with controller(tmp_path, spread) as world:

        def change() -> None:
            world.state = state(ObjectState.REJECTED)

        world.on_report = change

        def until(_: ReportSender) -> bool:
            if len(world.pauses_seconds) == 3:
                world.state = PROGRAMMED
            return len(world.reports) == 2

        await world.run(until)
        # A look, the spread of 0 s that holds at first; a look, the spread.
        assert len(world.pauses_seconds) == 4
        assert all(pause <= LOOK_SECONDS for pause in world.pauses_seconds[::2])
        assert world.pauses_seconds[1] == 0.0 < world.pauses_seconds[3] <= 1000.0
        assert [one.state for one in world.reports[1].objects] == [ObjectState.PROGRAMMED]


async def test_controller_that_knows_nothing_is_told_everything(tmp_path: Path) -> None:
    async with controller(tmp_path, TAKEN, SEND_FULL, TAKEN) as world:
        errors: set[str] = set()

        def until(sender: ReportSender) -> bool:
            errors.add(sender.status.error)
            return len(world.reports) == 3

        await world.run(until)
        assert [one.full for one in world.reports] == [True, False, True]
        assert world.reports[2].objects == tuple(PENDING.objects.values())
        assert errors == {""}, "that is no failure"


async def test_each_failure_in_a_row_is_followed_by_a_longer_pause(tmp_path: Path) -> None:
    async with controller(tmp_path, *[UNAVAILABLE] * 12) as world:
        sender = await world.run_reports(11)
        # News is spread over 0 s, so that pauses go by threes: a look, the spread, the failure.
        pauses = world.pauses_seconds[2::3]
        assert pauses[:5] == sorted(pauses[:5])
        assert pauses[-1] > 10 * pauses[0]
        assert max(pauses) <= 15.0
        assert sender.status.error == "Unavailable: not now"


async def test_refused_token_is_told_and_the_next_one_is_used(tmp_path: Path) -> None:
    async with controller(tmp_path, UNAUTHENTICATED) as world:
        seen: list[str] = []

        def until(sender: ReportSender) -> bool:
            seen.append(sender.status.error)
            world.token.write_text("renewed")
            return len(world.reports) == 2

        sender = await world.run(until)
        assert "Unauthenticated: not a good token" in seen
        assert world.tokens[1] == "Bearer renewed"
        assert world.reports[1].full, "nothing of it was taken"
        assert sender.status.error == ""


async def test_certificate_is_read_once_and_anew_when_another_leads(tmp_path: Path) -> None:
    async with controller(tmp_path) as world:
        another = make_serving_certificate(NAMESPACE, SERVICE).certificate
        world.entries.insert(0, LeaderEntry(another))
        await world.run_reports(3)
        assert world.reads == 2
        assert [one.full for one in world.reports] == [True, False, False]


async def test_certificate_for_another_service_is_not_trusted(tmp_path: Path) -> None:
    other = make_serving_certificate("elsewhere", SERVICE)
    async with controller(tmp_path, serving=other) as world:
        sender = await world.run(lambda sender: bool(sender.status.error))
        assert "cannot be reached" in sender.status.error
        assert world.reports == []


@pytest.mark.parametrize("body", ["", "no certificate"])
async def test_config_map_without_a_certificate_is_told(tmp_path: Path, body: str) -> None:
    async with controller(tmp_path) as world:
        world.entries = [LeaderEntry(body)]
        sender = await world.run(lambda sender: bool(sender.status.error))
        assert "holds no certificate" in sender.status.error


async def test_answer_that_no_controller_gives_leaves_the_report_in_doubt(tmp_path: Path) -> None:
    async with controller(tmp_path, TAKEN, (502, "a proxy's words"), TAKEN) as world:

        def change() -> None:
            world.state = PROGRAMMED if len(world.reports) == 1 else PENDING

        world.on_report = change
        await world.run_reports(3)
        assert [one.base for one in world.reports] == [0, 1, 1]
        assert [one.state for one in world.reports[2].objects] == [ObjectState.PENDING], (
            "though it is what was acknowledged"
        )


NOBODY = ("127.0.0.1", 1)


async def test_reports_go_to_the_leader_itself_where_it_says_where_it_is(tmp_path: Path) -> None:
    async with controller(tmp_path) as world:
        (entry,) = world.entries
        world.entries = [LeaderEntry(entry.certificate, world.address)]
        world.address = NOBODY
        sender = await world.run_reports(2)
        assert sender.status.error == ""
        assert world.reads == 1


async def test_leader_that_has_ended_is_looked_for_where_the_next_one_says(tmp_path: Path) -> None:
    async with controller(tmp_path) as world:
        (entry,) = world.entries
        ended = LeaderEntry(entry.certificate, NOBODY)
        world.entries = [ended, ended, LeaderEntry(entry.certificate, world.address)]
        world.address = None
        with structlog.testing.capture_logs() as lines:
            sender = await world.run_reports(2)
        assert world.reads == 3
        assert sender.status.error == ""
        assert lines == [], "one leader follows another: nothing to tell"


async def test_refused_connection_takes_no_trust_away(tmp_path: Path) -> None:
    async with controller(tmp_path) as world:
        service = world.address
        world.address = NOBODY

        def until(sender: ReportSender) -> bool:
            if sender.status.error:
                world.address, world.api_error = service, ApiUnreachable("away")
            return len(world.reports) == 1

        sender = await world.run(until)
        assert sender.status.error == "", "reports do not depend on the API server"


async def test_address_that_does_not_answer_is_looked_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("culvert.leader.connection.CONNECT_SECONDS", 0.2)
    async with controller(tmp_path) as world:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            (entry,) = world.entries
            hung = LeaderEntry(entry.certificate, mute.getsockname())
            world.entries = [hung, LeaderEntry(entry.certificate, world.address)]
            errors: set[str] = set()

            def until(sender: ReportSender) -> bool:
                errors.add(sender.status.error)
                return len(world.reports) == 1

            await world.run(until)
        assert world.reads == 2
        assert any("cannot be reached" in one for one in errors), "nothing was sent"


async def test_first_failures_are_quiet_and_later_ones_told_once(tmp_path: Path) -> None:
    async with controller(tmp_path) as world:
        service = world.address
        world.address = NOBODY

        def until(_: ReportSender) -> bool:
            if world.reads == 6:
                assert lines == []
            if world.reads == 12:
                world.address = service
            return len(world.reports) == 1

        with structlog.testing.capture_logs() as lines:
            await world.run(until)
        assert [line["event"] for line in lines] == [
            "not reported; trying again",
            "reports are taken again",
        ]
        assert "cannot be reached" in lines[0]["error"]


async def test_failure_after_an_answer_is_followed_by_a_short_pause_again(tmp_path: Path) -> None:
    async with controller(tmp_path, *[UNAVAILABLE] * 9, TAKEN, UNAVAILABLE) as world:

        def change() -> None:
            world.state = PROGRAMMED if len(world.reports) == 10 else PENDING

        world.on_report = change
        # Ten times a look and the spread; all but the tenth are failures, which have a third pause.
        await world.run(lambda _: len(world.pauses_seconds) == 32)
        assert len(world.reports) == 11
        assert world.pauses_seconds[26] > 5.0
        assert world.pauses_seconds[31] <= 0.5


async def test_what_waits_for_a_leader_is_not_spread_again(tmp_path: Path) -> None:
    spread = (200, Acknowledgement(spread_seconds=1000.0, heartbeat_seconds=60.0))
    async with controller(tmp_path, spread) as world:
        service = world.address

        def change() -> None:
            world.state, world.address = PROGRAMMED, NOBODY

        world.on_report = change

        def until(_: ReportSender) -> bool:
            if world.reads == 4:
                world.address = service
            return len(world.reports) == 2

        await world.run(until)
        assert sum(pause > 15.0 for pause in world.pauses_seconds) <= 1


def breaking(name: str, value: Any) -> Callable[[World], None]:
    return lambda world: setattr(world, name, value)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (breaking("address", None), "culvert-system/culvert-controller has no cluster IP"),
        (breaking("api_error", ApiUnreachable("away")), "certificate cannot be read: away"),
        (lambda world: world.token.unlink(), "no token for the controller"),
        (breaking("address", NOBODY), "cannot be reached"),
    ],
    ids=["no address", "API away", "no token", "nobody listens"],
)
async def test_what_is_missing_is_told(
    tmp_path: Path, spoil: Callable[[World], None], words: str
) -> None:
    async with controller(tmp_path) as world:
        spoil(world)
        sender = await world.run(lambda sender: bool(sender.status.error))
        assert words in sender.status.error
        assert world.reports == []


async def test_nothing_is_reported_before_anything_is_known(tmp_path: Path) -> None:
    async with controller(tmp_path) as world:
        world.state = None
        await world.run(lambda _: len(world.pauses_seconds) == 10)
        assert world.reports == []
