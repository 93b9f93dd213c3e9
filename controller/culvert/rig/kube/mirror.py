"""The objects of the API server that nodes need, kept in step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from culvert.kube.client import KubeClient
from culvert.kube.reflector import Reflector
from culvert.model.key import ObjectKey

Document = Mapping[str, Any]
"""An object, decoded from JSON; lists leave ``kind`` out."""

_PATHS = {
    "pods": "/api/v1/pods",
    "nodes": "/api/v1/nodes",
    "namespaces": "/api/v1/namespaces",
    "services": "/api/v1/services",
    "config_maps": "/api/v1/configmaps",
    "secrets": "/api/v1/secrets",
    "endpoint_slices": "/apis/discovery.k8s.io/v1/endpointslices",
}


def _decode(raw: msgspec.Raw) -> Document:
    document: Document = msgspec.json.decode(raw)
    return document


class Mirror:
    """Copies of whole collections. ``changed`` is called on the loop after each change."""

    def __init__(self, client: KubeClient, changed: Callable[[], None]) -> None:
        self._reflectors = {
            name: Reflector(client, path, _decode, changed=changed) for name, path in _PATHS.items()
        }

    @property
    def synced(self) -> bool:
        """Whether all copies have been complete once."""
        return all(r.health.synced for r in self._reflectors.values())

    @property
    def pods(self) -> Mapping[ObjectKey, Document]:
        """By namespace and name."""
        return self._reflectors["pods"].items

    @property
    def nodes(self) -> Mapping[ObjectKey, Document]:
        """By name; the namespace is empty."""
        return self._reflectors["nodes"].items

    @property
    def namespaces(self) -> Mapping[ObjectKey, Document]:
        """By name; the key's namespace is empty."""
        return self._reflectors["namespaces"].items

    @property
    def services(self) -> Mapping[ObjectKey, Document]:
        """By namespace and name."""
        return self._reflectors["services"].items

    @property
    def config_maps(self) -> Mapping[ObjectKey, Document]:
        """By namespace and name."""
        return self._reflectors["config_maps"].items

    @property
    def secrets(self) -> Mapping[ObjectKey, Document]:
        """By namespace and name."""
        return self._reflectors["secrets"].items

    @property
    def endpoint_slices(self) -> Mapping[ObjectKey, Document]:
        """By namespace and name."""
        return self._reflectors["endpoint_slices"].items

    async def run(self) -> None:
        """Follow all collections until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for reflector in self._reflectors.values():
                tasks.create_task(reflector.run())
