"""Puts a synthetic world into a control plane, with many requests under way at a time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TypeVar

import aiohttp
import msgspec
from culvert.embedded.control_plane import ControlPlane
from culvert.kube.client import KubeClient

from tests.bench import synthetic_world as world
from tests.bench.propagation_error import WorldNotStoredError
from tests.bench.synthetic_world import Document, WorldSize

_REQUESTS_UNDER_WAY = 32
_TRANSACTIONS_UNDER_WAY = 4
_OBJECTS_PER_TRANSACTION = 100
"""etcd takes up to 128 operations in one (``--max-txn-ops``)."""

T = TypeVar("T")


async def put_world(
    plane: ControlPlane,
    api: KubeClient,
    first: WorldSize,
    last: WorldSize,
    on_progress: Callable[[int], None] = lambda _objects: None,
) -> None:
    """Write what ``last`` has and ``first``, which is there already, has not.

    Services and EndpointSlices go through the API, nodes and pods straight to etcd.

    Raises:
        ApiError, ApiUnreachable: the API server refused an object.
        WorldNotStoredError: etcd did.
    """

    async def create(request: tuple[str, Document]) -> None:
        await api.create(*request)
        on_progress(1)

    async with aiohttp.ClientSession() as session:

        async def store(objects: tuple[tuple[str, Document], ...]) -> None:
            await _store(session, plane.etcd_url, objects)
            on_progress(len(objects))

        batches = _batches(world.stored_objects(first, last), _OBJECTS_PER_TRANSACTION)
        await side_by_side(store, batches, _TRANSACTIONS_UNDER_WAY)
    numbers = range(first.services, last.services)
    requests = chain(
        ((world.SERVICES_PATH, world.service(number)) for number in numbers),
        ((world.SLICES_PATH, world.endpoint_slice(number)) for number in numbers),
    )
    await side_by_side(create, requests, _REQUESTS_UNDER_WAY)


async def side_by_side(act: Callable[[T], Awaitable[None]], items: Iterable[T], count: int) -> None:
    """Do something to each item, to ``count`` of them at a time; the first failure ends it."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await act(item)

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                tasks.create_task(work())
    except ExceptionGroup as group:
        raise group.exceptions[0] from group


def _batches(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    rest = iter(items)
    while batch := tuple(islice(rest, size)):
        yield batch


async def _store(
    session: aiohttp.ClientSession, etcd_url: str, objects: Iterable[tuple[str, Document]]
) -> None:
    """One transaction, by etcd's JSON gateway (etcd, "gRPC gateway")."""
    puts = [
        {"requestPut": {"key": _base64(key.encode()), "value": _base64(msgspec.json.encode(value))}}
        for key, value in objects
    ]
    async with session.post(f"{etcd_url}/v3/kv/txn", json={"success": puts}) as answer:
        if answer.status != 200:
            raise WorldNotStoredError(f"etcd: {(await answer.text()).strip()[:300]}")


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
