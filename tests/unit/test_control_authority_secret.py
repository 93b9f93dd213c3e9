"""A Secret as a store, against what an API server does for one."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest
from culvert.control.authority_secret import SecretStore
from culvert.kube.client import KubeClient
from culvert.kube.errors import ApiError

PATH = "/api/v1/namespaces/n/secrets"


@dataclass
class Api:
    """One Secret, or none."""

    secret: dict[str, Any] | None = None
    version: int = 7
    bodies: list[Any] = field(default_factory=list)

    async def get(self, path: str) -> bytes:
        assert path == f"{PATH}/s"
        if self.secret is None:
            raise ApiError(404, "NotFound")
        return msgspec.json.encode(self._stamped())

    async def create(self, path: str, body: Any) -> bytes:
        assert path == PATH
        if self.secret is not None:
            raise ApiError(409, "AlreadyExists")
        self.secret = body
        return msgspec.json.encode(self._stamped())

    async def merge_patch(self, path: str, body: Any) -> bytes:
        assert path == f"{PATH}/s"
        if self.secret is None:
            raise ApiError(404, "NotFound")
        if body["metadata"]["resourceVersion"] != str(self.version):
            raise ApiError(409, "Conflict")
        data = self.secret.get("data", {}) | body["data"]
        self.secret["data"] = {name: value for name, value in data.items() if value is not None}
        self.version += 1
        return msgspec.json.encode(self._stamped())

    def _stamped(self) -> dict[str, Any]:
        assert self.secret is not None
        metadata = {**self.secret["metadata"], "resourceVersion": str(self.version)}
        return {**self.secret, "metadata": metadata}

    def store(self) -> SecretStore:
        return SecretStore(cast(KubeClient, self), "n", "s")


async def test_what_is_written_is_read_and_created_once() -> None:
    api = Api()
    store = api.store()
    assert await store.read() is None
    assert await store.create({"a.key": b"\x00\xff", "b": b""})
    assert not await store.create({"a.key": b"another"})
    stored = await store.read()
    assert stored is not None
    assert stored.files == {"a.key": b"\x00\xff", "b": b""}
    assert (stored.version, store.name) == ("7", "Secret n/s")


async def test_what_was_read_is_replaced_as_a_whole_and_its_annotations_stay() -> None:
    api = Api()
    store = api.store()
    await store.create({"a": b"1", "b": b"2"})
    assert api.secret is not None
    api.secret["metadata"]["annotations"] = {"note": "kept"}
    stored = await store.read()
    assert stored is not None
    assert await store.replace({"b": b"3"}, stored)
    assert not await store.replace({"b": b"4"}, stored), "it has changed since"
    again = await store.read()
    assert again is not None
    assert (again.files, again.annotations) == ({"b": b"3"}, {"note": "kept"})
    api.secret = None
    assert not await store.replace({"b": b"5"}, again), "it has gone since"


async def test_refusal_is_the_callers_business() -> None:
    class Forbidding(Api):
        async def get(self, path: str) -> bytes:
            raise ApiError(403, "Forbidden")

    with pytest.raises(ApiError):
        await Forbidding().store().read()


async def test_data_that_is_not_base64_is_told_without_showing_it() -> None:
    api = Api({"metadata": {"name": "s"}, "data": {"a": "se cret!"}})
    with pytest.raises(ValueError, match="not base64") as refused:
        await api.store().read()
    assert "cret" not in str(refused.value)


async def test_contents_are_not_in_what_is_printed() -> None:
    api = Api({"metadata": {"name": "s"}, "data": {"a": base64.b64encode(b"hidden").decode()}})
    assert "hidden" not in repr(await api.store().read())
