"""Changes to a synthetic world, one by one."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec
from culvert.kube.client import KubeClient
from culvert.kube.envelope import metadata_of

from tests.bench import synthetic_world as world
from tests.bench.propagation_figures import ENDPOINTS_CHANGED, SERVICE_ADDED
from tests.bench.synthetic_world import ENDPOINTS_PER_SERVICE, WorldSize

_FIRST_ADDED = 40_000
"""Beyond the largest world."""
_STRIDE = 7919
"""A prime: changes one after another are of Services far apart."""


@dataclass(frozen=True, slots=True)
class Written:
    """A change that the API server has answered: what it was, its version, and when.

    ``kind`` is the kind of object, ``number`` that of the Service, ``unready`` the index of its
    endpoint that gets no traffic, -1 for none.
    """

    change: str
    kind: str
    number: int
    resource_version: int
    unix_seconds: float
    unready: int = -1


class Changes:
    """Makes changes to a world; Services that are added are not of its own numbers.

    ``size`` is set when the world has grown.
    """

    def __init__(self, api: KubeClient) -> None:
        self.size = WorldSize(0)
        self._api = api
        self._unready: dict[int, int] = {}
        self._flips = 0
        self._next_service = _FIRST_ADDED

    async def flip_endpoint(self) -> Written:
        """Another endpoint of some Service becomes the one that is not ready."""
        number = self._flips * _STRIDE % self.size.services
        self._flips += 1
        # Never the one before: a write that changes nothing makes no new version.
        unready = (self._unready.get(number, -1) + 1) % ENDPOINTS_PER_SERVICE
        self._unready[number] = unready
        body = await self._api.replace(
            f"{world.SLICES_PATH}/{world.service_name(number)}",
            world.endpoint_slice(number, unready=frozenset({unready})),
        )
        return _written(ENDPOINTS_CHANGED, "EndpointSlice", number, body, unready)

    async def add_service(self) -> Written:
        """A Service that was not there, with its endpoints."""
        number = self._next_service
        self._next_service += 1
        await self._api.create(world.SLICES_PATH, world.endpoint_slice(number))
        body = await self._api.create(world.SERVICES_PATH, world.service(number))
        return _written(SERVICE_ADDED, "Service", number, body)

    async def remove_service(self, number: int) -> None:
        """One that was added is deleted, with its endpoints."""
        name = world.service_name(number)
        await self._api.delete(f"{world.SERVICES_PATH}/{name}")
        await self._api.delete(f"{world.SLICES_PATH}/{name}")


def _written(change: str, kind: str, number: int, body: bytes, unready: int = -1) -> Written:
    answered_seconds = time.time()
    version = int(metadata_of(msgspec.Raw(body)).resource_version)
    return Written(change, kind, number, version, answered_seconds, unready)
