"""Tells the API server of pods: where they go, how they are, that they are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from culvert.kube.client import KubeClient
from culvert.kube.errors import ApiError, ApiUnreachable
from culvert.rig.kube.pod_object import PodObject, uid_of

_log = structlog.get_logger(__name__)

_RETRY_SECONDS = 0.5
_CONCURRENT_WRITES = 8
_IN_VAIN = (404, 409, 422)
"""Gone, replaced, or written by another: the next change of the pod says what is so."""


@dataclass(frozen=True, slots=True)
class _Status:
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Binding:
    node: str


@dataclass(frozen=True, slots=True)
class _Removal:
    pass


_Write = _Status | _Binding | _Removal


class PodWriter:
    """Writes for each pod what was asked last, and tries until the server has taken it.

    A pod that is gone, or is another of the same name, is not written to.
    """

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._waiting: dict[str, tuple[PodObject, _Write]] = {}
        self._done: dict[str, _Write] = {}
        self._busy: dict[str, _Write] = {}

    @property
    def bindings(self) -> dict[str, str]:
        """The node of each pod, by uid, that was asked for and not refused.

        The API server tells of a binding only after it was made: until then, whoever chooses
        nodes must count it as made.
        """
        writes = {**self._done, **self._busy}
        writes.update((uid, write) for uid, (_, write) in self._waiting.items())
        return {uid: write.node for uid, write in writes.items() if isinstance(write, _Binding)}

    def bind(self, pod: PodObject, node: str) -> None:
        """Bind a pod to a node."""
        self._ask(pod, _Binding(node))

    def report(self, pod: PodObject, status: Mapping[str, Any]) -> None:
        """Write a pod's status."""
        self._ask(pod, _Status(status))

    def remove(self, pod: PodObject) -> None:
        """Remove a pod's object: what it stood for is gone."""
        self._ask(pod, _Removal())

    def forget(self, uid: str) -> None:
        """Forget what was written of a pod whose object is gone."""
        self._done.pop(uid, None)

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_CONCURRENT_WRITES):
                tasks.create_task(self._work())

    def _ask(self, pod: PodObject, write: _Write) -> None:
        uid = uid_of(pod)
        if self._done.get(uid) == write and uid not in self._waiting and uid not in self._busy:
            return
        if uid not in self._waiting and uid not in self._busy:
            self._queue.put_nowait(uid)
        self._waiting[uid] = (pod, write)

    async def _work(self) -> None:
        while True:
            uid = await self._queue.get()
            # One write of a pod at a time: they must not overtake each other.
            pod, write = self._waiting.pop(uid)
            self._busy[uid] = write
            try:
                await self._write(pod, write)
                self._done[uid] = write
            except ApiUnreachable as error:
                await self._again(uid, pod, write, error)
            except ApiError as error:
                if error.status in _IN_VAIN:
                    _log.debug("pod not written", uid=uid, error=str(error))
                else:
                    await self._again(uid, pod, write, error)
            finally:
                del self._busy[uid]
                if uid in self._waiting:
                    self._queue.put_nowait(uid)

    async def _again(self, uid: str, pod: PodObject, write: _Write, error: Exception) -> None:
        _log.debug("pod not written yet", uid=uid, error=str(error))
        await asyncio.sleep(_RETRY_SECONDS)
        self._waiting.setdefault(uid, (pod, write))

    async def _write(self, pod: PodObject, write: _Write) -> None:
        metadata = pod["metadata"]
        name, namespace, uid = metadata["name"], metadata["namespace"], metadata["uid"]
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        match write:
            case _Binding(node=node):
                body = {
                    "apiVersion": "v1",
                    "kind": "Binding",
                    "metadata": {"name": name, "namespace": namespace, "uid": uid},
                    "target": {"apiVersion": "v1", "kind": "Node", "name": node},
                }
                await self._client.create(f"{path}/binding", body)
            case _Status(body=status):
                # With the uid, so that a pod of the same name that came since is a conflict.
                await self._client.merge_patch(
                    f"{path}/status", {"metadata": {"uid": uid}, "status": status}
                )
            case _Removal():
                await self._client.delete(
                    path,
                    {
                        "apiVersion": "v1",
                        "kind": "DeleteOptions",
                        "gracePeriodSeconds": 0,
                        "preconditions": {"uid": uid},
                    },
                )
