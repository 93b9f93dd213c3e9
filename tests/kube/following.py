"""Waiting, within a limit, for a copy of the API's objects to come right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from culvert.kube.backoff import Backoff
from culvert.kube.client import KubeClient
from culvert.kube.reflector import Reflector
from culvert.model.key import ObjectKey

LIMIT_SECONDS = 60.0


class ConfigMap(msgspec.Struct, frozen=True):
    """The part of a ConfigMap that the tests look at."""

    data: dict[str, str] = {}


async def until(condition: Callable[[], bool]) -> None:
    """Return when it holds.

    Raises:
        TimeoutError: it did not, in a minute.
    """
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@asynccontextmanager
async def followed(
    api: KubeClient, namespace: str, **options: Any
) -> AsyncIterator[Reflector[ConfigMap]]:
    """A reflector of the namespace's ConfigMaps, running and complete."""
    options.setdefault("backoff", Backoff(lambda: 0.5, first_seconds=0.05, max_seconds=0.5))
    reflector: Reflector[ConfigMap] = Reflector(
        api,
        f"/api/v1/namespaces/{namespace}/configmaps",
        msgspec.json.Decoder(ConfigMap).decode,
        **options,
    )
    task = asyncio.create_task(reflector.run())
    try:
        await until(lambda: reflector.health.synced)
        yield reflector
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def put(api: KubeClient, namespace: str, name: str, value: str) -> None:
    """Make or change a ConfigMap."""
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"value": value},
    }
    path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
    await api.apply(path, body, field_manager="test")


async def delete(api: KubeClient, namespace: str, name: str) -> None:
    """Delete a ConfigMap."""
    await api.delete(f"/api/v1/namespaces/{namespace}/configmaps/{name}")


def values(reflector: Reflector[ConfigMap]) -> dict[str, str]:
    """What the copy holds, by name."""
    return {key.name: item.data.get("value", "") for key, item in reflector.items.items()}


def key(namespace: str, name: str) -> ObjectKey:
    """The key of a ConfigMap."""
    return ObjectKey(namespace, name)
