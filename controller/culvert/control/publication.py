"""Publishes where the leader is and its certificate, and keeps both published."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import structlog

from culvert.control.status_writer import FIELD_MANAGER
from culvert.kube.backoff import Backoff
from culvert.kube.client import KubeClient
from culvert.kube.envelope import Metadata
from culvert.kube.errors import AccessError, ApiError, ApiUnreachable
from culvert.model.leader import CERTIFICATE_KEY, KEYS, LeaderEntry, leader_config_map

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 10.0
"""Between two looks whether it is as it was published: somebody may have deleted it."""
YIELD_SECONDS = 5.0
"""Before another's entry is replaced: a leader whose Lease another has taken ends sooner."""
_MAX_RETRY_SECONDS = 5.0
_MAKER = f"{FIELD_MANAGER}/maker"
"""Owns no field: what it applies takes nothing from the entry that another may have written."""


class _ConfigMap(msgspec.Struct):
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    data: dict[str, str] = {}


_DECODER = msgspec.json.Decoder(_ConfigMap)


async def keep_published(api: KubeClient, namespace: str, service: str, entry: LeaderEntry) -> None:
    """Write the entry, and again when it is not there any more. Ends only by cancellation.

    Call it when the address is listened on: agents come at once. It is written over the version
    alone that was read, so that a write that comes late replaces nobody's. An entry of another's is
    replaced at once by a leader that is new, and later only by one that has led on for 5 s.
    """
    name = leader_config_map(service)
    published = _Published(api, namespace, name, entry)
    backoff = Backoff(random.random, max_seconds=_MAX_RETRY_SECONDS)
    may_replace = True
    while True:
        pause_seconds = LOOK_SECONDS
        try:
            may_replace = not await published.look(may_replace=may_replace)
            if may_replace:
                pause_seconds = YIELD_SECONDS
        except (ApiError, ApiUnreachable, AccessError, msgspec.MsgspecError) as error:
            _log.warning(
                "where the leader is was not published; trying again",
                config_map=f"{namespace}/{name}",
                error=str(error),
            )
            pause_seconds = backoff.delay_seconds(asyncio.get_running_loop().time())
        await asyncio.sleep(pause_seconds)


class _Published:
    """The ConfigMap, and what it is to hold."""

    def __init__(self, api: KubeClient, namespace: str, name: str, entry: LeaderEntry) -> None:
        self._api = api
        self._namespace, self._name = namespace, name
        self._entry = entry
        self._path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"

    async def look(self, *, may_replace: bool) -> bool:
        """Write the entry where that is needed; False where another's is left there."""
        found = await self._read()
        wanted = self._entry.data()
        if all(found.data.get(key) == wanted.get(key) for key in KEYS):
            return True
        if found.data.get(CERTIFICATE_KEY) and not may_replace:
            return False
        try:
            if not found.metadata.resource_version:
                found = await self._make()
                if found.data:
                    return False
            await self._write(found.metadata.resource_version)
        except ApiError as error:
            if error.status != 409:
                raise
            # Somebody else has written since it was read.
            return False
        return True

    async def _read(self) -> _ConfigMap:
        try:
            return _DECODER.decode(await self._api.get(self._path))
        except ApiError as error:
            if error.status != 404:
                raise
            return _ConfigMap()

    async def _make(self) -> _ConfigMap:
        """Make an empty one where there is none, and leave it alone where one has come."""
        answer = await self._api.apply(self._path, self._body(), field_manager=_MAKER)
        return _DECODER.decode(answer)

    async def _write(self, over_version: str) -> None:
        body = self._body(resourceVersion=over_version)
        body["data"] = self._entry.data()
        await self._api.apply(self._path, body, field_manager=FIELD_MANAGER)

    def _body(self, **metadata: str) -> dict[str, Any]:
        metadata |= {"namespace": self._namespace, "name": self._name}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
