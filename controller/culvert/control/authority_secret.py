"""A Secret as a place for the keys of a certificate authority: created once, never overwritten."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Mapping

import msgspec

from culvert.kube.client import KubeClient
from culvert.kube.envelope import Metadata
from culvert.kube.errors import ApiError
from culvert.model.stored_files import StoredFiles


class _Secret(msgspec.Struct):
    metadata: Metadata
    data: dict[str, str] | None = None


_DECODER = msgspec.json.Decoder(_Secret)


class SecretStore:
    """Raises what ``KubeClient`` raises; no message ever holds what is in the Secret."""

    def __init__(self, api: KubeClient, namespace: str, name: str) -> None:
        self._api = api
        self._namespace, self._name = namespace, name
        self._collection = f"/api/v1/namespaces/{namespace}/secrets"

    @property
    def name(self) -> str:
        """``Secret namespace/name``."""
        return f"Secret {self._namespace}/{self._name}"

    async def read(self) -> StoredFiles | None:
        """Its data, None where there is no such Secret.

        Raises:
            ValueError: its data is not base64.
        """
        try:
            secret = _DECODER.decode(await self._api.get(f"{self._collection}/{self._name}"))
        except ApiError as error:
            if error.status != 404:
                raise
            return None
        try:
            files = {
                name: base64.b64decode(text, validate=True)
                for name, text in (secret.data or {}).items()
            }
        except binascii.Error:
            raise ValueError("its data is not base64") from None
        metadata = secret.metadata
        return StoredFiles(files, metadata.resource_version, metadata.annotations or {})

    async def create(self, files: Mapping[str, bytes]) -> bool:
        """Create it; False where there is one already."""
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "labels": {"app.kubernetes.io/part-of": "culvert"},
            },
            "type": "Opaque",
            "data": _encoded(files),
        }
        return await self._unless_another_was_first(self._api.create(self._collection, body))

    async def replace(self, files: Mapping[str, bytes], over: StoredFiles) -> bool:
        """Replace its data, if it is still what was read."""
        gone = dict.fromkeys(over.files.keys() - files.keys())
        patch = {"metadata": {"resourceVersion": over.version}, "data": _encoded(files) | gone}
        path = f"{self._collection}/{self._name}"
        return await self._unless_another_was_first(self._api.merge_patch(path, patch))

    async def _unless_another_was_first(self, request: Awaitable[bytes]) -> bool:
        try:
            await request
        except ApiError as error:
            # Conflict and AlreadyExists; or it was deleted since it was read.
            if error.status in (404, 409):
                return False
            raise
        return True


def _encoded(files: Mapping[str, bytes]) -> dict[str, str | None]:
    return {name: base64.b64encode(content).decode() for name, content in files.items()}
