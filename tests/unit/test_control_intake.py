from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from culvert.control import intake as intake_module
from culvert.control.aggregate import Aggregate
from culvert.control.cadence import heartbeat_seconds, spread_seconds
from culvert.control.intake import make_intake
from culvert.model.refusal import Refusal, RefusedError
from culvert.model.report import REPORTS_PATH, Acknowledgement, NodeReport

FULL = NodeReport(node="node-a", session_id="s", sequence=1)
DELTA = NodeReport(node="node-a", session_id="s", sequence=2, base=1)
GOOD = {"Authorization": "Bearer token-of-node-a"}


class Tokens:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def node_of(self, token: str) -> str:
        self.asked.append(token)
        if not token.startswith("token-of-"):
            raise RefusedError(401, "Unauthenticated", "not a token")
        return token.removeprefix("token-of-")


class Intake:
    """A running intake, and what it told of its answers."""

    def __init__(self) -> None:
        self.aggregate = Aggregate(0.0)
        self.tokens = Tokens()
        self.answered: list[str] = []
        application = make_intake(
            self.aggregate,
            self.tokens,
            answered=self.answered.append,
            monotonic_seconds=lambda: 5.0,
        )
        self.client: TestClient[web.Request, web.Application] = TestClient(TestServer(application))

    async def post(
        self, body: NodeReport | bytes, headers: dict[str, str] | None = None
    ) -> ClientResponse:
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.client.post(
            REPORTS_PATH, data=data, headers=GOOD if headers is None else headers
        )

    async def refusal(self, *arguments: Any) -> tuple[int, str]:
        answer = await self.post(*arguments)
        refused = msgspec.json.decode(await answer.read(), type=Refusal)
        assert self.answered[-1] == refused.reason
        assert refused.message
        return answer.status, refused.reason


@asynccontextmanager
async def running() -> AsyncIterator[Intake]:
    intake = Intake()
    async with intake.client:
        yield intake


async def test_report_is_taken_at_the_time_it_comes() -> None:
    async with running() as intake:
        answer = await intake.post(FULL)
        assert answer.status == 200
        assert intake.answered == ["Taken"]
        assert intake.aggregate.node_count == 1
        intake.aggregate.expire(203.0)
        assert intake.aggregate.silent_nodes() == []
        intake.aggregate.expire(206.0)
        assert intake.aggregate.silent_nodes() == ["node-a"]


async def test_acknowledgement_says_how_often_so_many_nodes_are_to_report() -> None:
    async with running() as intake:
        for number in range(1999):
            intake.aggregate.take(msgspec.structs.replace(FULL, node=f"n{number}"), 0.0)
        answer = await intake.post(FULL)
        assert msgspec.json.decode(await answer.read(), type=Acknowledgement) == Acknowledgement(
            spread_seconds=spread_seconds(2000), heartbeat_seconds=heartbeat_seconds(2000)
        )


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic token-of-node-a"}])
async def test_request_without_a_token_is_refused(headers: dict[str, str]) -> None:
    async with running() as intake:
        assert await intake.refusal(FULL, headers) == (401, "Unauthenticated")
        assert intake.tokens.asked == []


async def test_who_is_refused_cannot_make_the_intake_read_anything() -> None:
    async with running() as intake:
        wrong = {"Authorization": "Bearer nonsense"}
        assert await intake.refusal(b"not even JSON", wrong) == (401, "Unauthenticated")


async def test_node_reports_for_itself_alone() -> None:
    async with running() as intake:
        other = msgspec.structs.replace(FULL, node="node-b")
        assert await intake.refusal(other) == (403, "Forbidden")
        assert intake.aggregate.node_count == 0


async def test_delta_of_what_is_not_known_is_to_be_followed_by_a_full_report() -> None:
    async with running() as intake:
        assert await intake.refusal(DELTA) == (409, "SendFull")
        assert (await intake.post(FULL)).status == 200
        assert (await intake.post(DELTA)).status == 200


@pytest.mark.parametrize("body", [b"", b"[]", b'{"node": "node-a"}', b"\xff"])
async def test_what_is_no_report_is_refused(body: bytes) -> None:
    async with running() as intake:
        assert await intake.refusal(body) == (400, "Unreadable")


async def test_field_of_a_newer_agent_is_ignored() -> None:
    async with running() as intake:
        body = msgspec.json.encode({**msgspec.to_builtins(FULL), "new": 1})
        assert (await intake.post(body)).status == 200


async def test_report_that_is_too_large_is_refused_however_it_is_packed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake_module, "MAX_REPORT_BYTES", 10_000)
    async with running() as intake:
        large = b" " * 20_000
        assert await intake.refusal(large) == (413, "TooLarge")
        packed = {**GOOD, "Content-Encoding": "gzip"}
        assert await intake.refusal(gzip.compress(large), packed) == (413, "TooLarge")


async def test_no_connection_is_kept_after_an_answer() -> None:
    async with running() as intake:
        for report in (DELTA, FULL):
            assert (await intake.post(report)).headers["Connection"] == "close"
