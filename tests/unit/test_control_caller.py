from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest
from culvert.control import caller
from culvert.control.caller import REMEMBER_SECONDS, Callers
from culvert.kube.client import KubeClient
from culvert.kube.errors import ApiError, ApiUnreachable
from culvert.model.refusal import RefusedError
from culvert.model.report import TOKEN_AUDIENCE

ACCOUNT = "culvert-system:culvert-agent"
NODE = "authentication.kubernetes.io/node-name"
POD = "authentication.kubernetes.io/pod-name"


def review(
    *,
    audience: str = TOKEN_AUDIENCE,
    account: str = ACCOUNT,
    node: str = "node-a",
    pod: str = "agent-x",
    authenticated: bool = True,
) -> dict[str, Any]:
    extra = {name: [value] for name, value in ((NODE, node), (POD, pod)) if value}
    user = {"username": f"system:serviceaccount:{account}", "extra": extra}
    return {"authenticated": authenticated, "audiences": [audience], "user": user}


def token(ends_seconds: float | None = 1e9, name: str = "t") -> str:
    claims = {} if ends_seconds is None else {"exp": ends_seconds}
    payload = base64.urlsafe_b64encode(msgspec.json.encode(claims)).rstrip(b"=").decode()
    return f"{name}.{payload}.signature"


@dataclass
class Api:
    """What the API server answers; ``asked`` has the paths."""

    status: dict[str, Any] = field(default_factory=review)
    pod: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None
    asked: list[str] = field(default_factory=list)
    now_seconds: float = 0.0

    async def create(self, path: str, body: Any) -> bytes:
        self.asked.append(path)
        assert body["spec"]["audiences"] == [TOKEN_AUDIENCE]
        if self.error:
            raise self.error
        return msgspec.json.encode({"status": self.status})

    async def get(self, path: str) -> bytes:
        self.asked.append(path)
        return msgspec.json.encode(self.pod)

    def callers(self) -> Callers:
        return Callers(cast(KubeClient, self), ACCOUNT, lambda: self.now_seconds)


async def refusal(api: Api, shown: str = "") -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        await api.callers().node_of(shown or token())
    return refused.value


async def test_node_is_the_one_that_the_token_is_bound_to() -> None:
    api = Api()
    assert await api.callers().node_of(token()) == "node-a"
    assert len(api.asked) == 1


async def test_server_that_does_not_say_the_node_is_asked_for_the_pod() -> None:
    api = Api(review(node=""), pod={"spec": {"nodeName": "node-b"}})
    assert await api.callers().node_of(token()) == "node-b"
    assert api.asked[1] == "/api/v1/namespaces/culvert-system/pods/agent-x"


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (review(authenticated=False), 401, "audience culvert-controller"),
        (review(audience="another"), 401, "audience culvert-controller"),
        (review(account="shop:default"), 403, "shop:default may not report"),
        (review(account="culvert-system:culvert-agent-2"), 403, "may not report"),
        (review(node="", pod=""), 403, "bound to no pod"),
        (review(node=""), 403, "bound to no pod"),
    ],
    ids=["not good", "audience", "account", "account that begins alike", "unbound", "no node yet"],
)
async def test_token_that_is_not_an_agents_is_refused_with_the_reason(
    status: dict[str, Any], code: int, words: str
) -> None:
    refused = await refusal(Api(status))
    assert refused.status == code
    assert words in str(refused)


@pytest.mark.parametrize("error", [ApiUnreachable("no answer"), ApiError(500)], ids=str)
async def test_when_nobody_can_say_it_is_not_the_callers_fault(error: Exception) -> None:
    refused = await refusal(Api(error=error))
    assert (refused.status, refused.reason) == (503, "Unavailable")


async def test_answer_that_cannot_be_read_is_nobodys_word() -> None:
    assert (await refusal(Api({"authenticated": "perhaps"}))).status == 503


async def test_bytes_that_are_no_text_are_refused_without_asking() -> None:
    api = Api()
    # As aiohttp gives a header's bytes that are not UTF-8.
    assert (await refusal(api, "\udcff")).status == 401
    assert api.asked == []


async def test_good_token_is_asked_about_again_only_after_a_while() -> None:
    api = Api()
    callers = api.callers()
    for api.now_seconds in (0.0, REMEMBER_SECONDS - 1):
        await callers.node_of(token())
    assert len(api.asked) == 1
    api.now_seconds = REMEMBER_SECONDS
    api.status = review(node="node-b")
    assert await callers.node_of(token()) == "node-b"


async def test_token_is_never_taken_beyond_its_end() -> None:
    api = Api()
    callers = api.callers()
    await callers.node_of(token(ends_seconds=60))
    api.now_seconds, api.status = 60.0, review(authenticated=False)
    with pytest.raises(RefusedError):
        await callers.node_of(token(ends_seconds=60))


@pytest.mark.parametrize("shown", [token(ends_seconds=None), "opaque", "a.!.c", "a.e30x.c"])
async def test_token_that_does_not_say_its_end_is_asked_about_each_time(shown: str) -> None:
    api = Api()
    callers = api.callers()
    for _ in range(2):
        assert await callers.node_of(shown) == "node-a"
    assert len(api.asked) == 2


async def test_refusal_is_not_remembered() -> None:
    api = Api(review(authenticated=False))
    callers = api.callers()
    with pytest.raises(RefusedError):
        await callers.node_of(token())
    api.status = review()
    assert await callers.node_of(token()) == "node-a"


async def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "MAX_REMEMBERED", 2)
    api = Api()
    callers = api.callers()
    for name in ("one", "two", "three", "three", "two", "one"):
        await callers.node_of(token(name=name))
    assert len(api.asked) == 4
