"""Which service accounts a node has pods of: asked of the API server, and remembered for a while.

From its cache the server lists pods by ``spec.nodeName`` without a look at others: it has an index.
So nothing of this is watched, and a controller for thousands of nodes holds no pod. But a cache may
be late, and a list from the store itself, on servers before 1.31, reads all pods of the cluster: it
is asked for only where the cache does not have what is looked for.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

import msgspec
import structlog

from culvert.kube.client import KubeClient
from culvert.kube.errors import AccessError, ApiError, ApiUnreachable
from culvert.model.identity import Identity
from culvert.model.refusal import RefusedError

_log = structlog.get_logger(__name__)

REMEMBER_SECONDS = 30.0
"""A pod that is gone counts for so long, where it was asked about just before."""
PAUSE_SECONDS = 1.0
"""Between two lists of one node's pods, so that who asks for what it may not have costs little."""
MAX_REMEMBERED = 10_000

_FROM_CACHE = {"resourceVersion": "0"}
_FROM_STORE: Mapping[str, str] = {}
_FINISHED = ("Succeeded", "Failed")


class _Metadata(msgspec.Struct):
    namespace: str = ""


class _Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""
    service_account_name: str = ""


class _Status(msgspec.Struct):
    phase: str = ""


class _Pod(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec
    status: _Status = msgspec.field(default_factory=_Status)


class _Pods(msgspec.Struct):
    items: list[_Pod] = []


_DECODER = msgspec.json.Decoder(_Pods)

Accounts = Collection[tuple[str, str]]
"""Namespace and name of service accounts."""


@dataclass(slots=True)
class _Known:
    """One node. ``begun_seconds`` is when the list began whose answer this is."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    accounts: Accounts = frozenset()
    begun_seconds: float = float("-inf")


class NodePods:
    """Asks once for many requests of a node that come together."""

    def __init__(
        self,
        api: KubeClient,
        *,
        monotonic_seconds: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._clock = monotonic_seconds or _loop_seconds
        self._sleep = sleep
        self._nodes: OrderedDict[str, _Known] = OrderedDict()

    async def accounts_on(self, node: str, wanted: Identity) -> Accounts:
        """Return the service accounts of the unfinished pods that are scheduled on a node.

        What is remembered will do where it has the one of ``wanted``; else the answer was asked of
        the API server after this call began, so that a pod that is new is not overlooked.

        Raises:
            RefusedError: the API server cannot be asked (503).
        """
        asked_seconds = self._clock()
        known = self._nodes.setdefault(node, _Known())
        self._nodes.move_to_end(node)
        while len(self._nodes) > MAX_REMEMBERED:
            self._nodes.popitem(last=False)
        account = (wanted.namespace, wanted.service_account)
        async with known.lock:
            is_fresh = asked_seconds - known.begun_seconds < REMEMBER_SECONDS
            if is_fresh and account in known.accounts:
                return known.accounts
            if known.begun_seconds < asked_seconds:
                await self._sleep(known.begun_seconds + PAUSE_SECONDS - self._clock())
                begun_seconds = self._clock()
                known.accounts = await self._list(node, _FROM_CACHE)
                if account not in known.accounts:
                    known.accounts = await self._list(node, _FROM_STORE)
                known.begun_seconds = begun_seconds
            return known.accounts

    async def _list(self, node: str, how: Mapping[str, str]) -> Accounts:
        try:
            answer = await self._api.get(
                "/api/v1/pods", {"fieldSelector": f"spec.nodeName={node}", **how}
            )
            pods = _DECODER.decode(answer).items
        except (ApiError, ApiUnreachable, AccessError, msgspec.MsgspecError) as error:
            _log.warning("pods of a node not listed", node=node, error=str(error))
            raise RefusedError(
                503, "Unavailable", "the API server cannot be asked about the node's pods now"
            ) from None
        return frozenset(
            (pod.metadata.namespace, pod.spec.service_account_name or "default")
            for pod in pods
            if pod.spec.node_name == node and pod.status.phase not in _FINISHED
        )


def _loop_seconds() -> float:
    return asyncio.get_running_loop().time()
