"""A model of an API server's collection: what it answers to lists and watches, with no network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from culvert.kube.errors import ApiError
from culvert.kube.listing import INITIAL_EVENTS_END, Request


@dataclass
class ModelServer:
    """One collection with a history that can be compacted. Versions count changes from 1."""

    streams_lists: bool = True
    has_old_etcd: bool = False
    version: int = 1
    compacted: int = 0
    objects: dict[str, tuple[int, str]] = field(default_factory=dict)
    history: list[tuple[int, str, str]] = field(default_factory=list)
    watched: int = 0

    def put(self, name: str, value: str) -> None:
        kind = "MODIFIED" if name in self.objects else "ADDED"
        self.version += 1
        self.objects[name] = (self.version, value)
        self._record(kind, name)

    def delete(self, name: str) -> None:
        if name in self.objects:
            self.version += 1
            self.objects[name] = (self.version, self.objects[name][1])
            self._record("DELETED", name)
            del self.objects[name]

    def compact(self) -> None:
        self.compacted = self.version
        self.history = []

    def object_json(self, name: str) -> str:
        version, value = self.objects[name]
        metadata = {"namespace": "n", "name": name, "uid": name, "resourceVersion": str(version)}
        return json.dumps({"metadata": metadata, "value": value})

    def page(self, request: Request) -> bytes:
        """A page; the token is ``<version>:<next name>``, gone once the version is compacted."""
        limit = int(request.params.get("limit", 0)) or len(self.objects) + 1
        token = str(request.params.get("continue", ""))
        version, start = (token.split(":", 1)) if token else (str(self.version), "")
        if token and int(version) < self.compacted:
            raise ApiError(410, "Expired", "the continue token is too old")
        names = [name for name in sorted(self.objects) if name >= start]
        rest = names[limit:]
        following = f"{version}:{rest[0]}" if rest else ""
        items = ",".join(self.object_json(name) for name in names[:limit])
        frame = {"resourceVersion": version, "continue": following}
        return f'{{"metadata":{json.dumps(frame)},"items":[{items}]}}'.encode()

    def watch(self, request: Request) -> Iterator[bytes]:
        """Every event so far, then the end."""
        if request.params.get("sendInitialEvents"):
            if not self.streams_lists:
                if self.has_old_etcd:
                    yield b'{"type":"ERROR","object":{"code":500,"reason":"InternalError"}}'
                    return
                raise ApiError(422, "Invalid", "sendInitialEvents is forbidden")
            for name in sorted(self.objects):
                yield f'{{"type":"ADDED","object":{self.object_json(name)}}}'.encode()
            yield self.bookmark({INITIAL_EVENTS_END: "true"})
            return
        since = int(request.params["resourceVersion"])
        if since < self.compacted:
            yield b'{"type":"ERROR","object":{"code":410,"reason":"Expired","message":"too old"}}'
            return
        for version, _, line in self.history:
            if version > since:
                yield line.encode()
        yield self.bookmark({})

    def bookmark(self, annotations: dict[str, str]) -> bytes:
        metadata = {"resourceVersion": str(self.version), "annotations": annotations}
        return json.dumps({"type": "BOOKMARK", "object": {"metadata": metadata}}).encode()

    def _record(self, kind: str, name: str) -> None:
        line = f'{{"type":"{kind}","object":{self.object_json(name)}}}'
        self.history.append((self.version, name, line))
