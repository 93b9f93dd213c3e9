"""The node that watches: an agent and its Envoy, and what the agent's log says it has applied."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.mesh_node import MeshNode, MeshOptions
from culvert.rig import Rig
from culvert.rig.kube.relay import Relay, listening_sockets

from tests.bench.propagation_error import NotAppliedError

NODE = "node-a"
NODE_ADDRESS = "10.99.0.1"

_API_PORT = 6443
_POLL_SECONDS = 0.002
_LIMIT_SECONDS = 120.0


@asynccontextmanager
async def watching_node(rig: Rig, plane: ControlPlane) -> AsyncIterator[MeshNode]:
    """A node whose agent watches the API over a relay, and logs in detail; nothing runs yet."""
    node = rig.add_node(NODE)
    kubeconfig = rig.directory / "kubeconfig"
    kubeconfig.write_text(
        plane.kubeconfig.read_text().replace(
            plane.url, f"https://{node.addresses.ipv4}:{_API_PORT}"
        )
    )
    running = MeshNode(
        node,
        rig_id=rig.rig_id,
        cgroup_root=rig.cgroup.parent,
        directory=rig.directory / NODE,
        manifests=None,
        kubeconfig=kubeconfig,
        options=MeshOptions(log_level="debug"),
    )
    async with Relay(listening_sockets(node, _API_PORT), ("127.0.0.1", plane.port)):
        try:
            yield running
        finally:
            await asyncio.to_thread(running.close)


@dataclass(frozen=True, slots=True)
class Applied:
    """The agent has applied a world: Envoy has acknowledged it, and the maps hold it.

    ``unix_seconds`` is when, ``resource_versions`` how far each kind had come in it.
    """

    unix_seconds: float
    resource_versions: Mapping[str, str]

    def has(self, kind: str, resource_version: int) -> bool:
        """Whether a write of this version is in it."""
        known = self.resource_versions.get(kind, "")
        return bool(known) and int(known) >= resource_version


def applied_of(line: str) -> Applied | None:
    """What one line of an agent's log says; None for lines about other things."""
    try:
        entry = json.loads(line)
        if entry["event"] != "world applied":
            return None
        when = datetime.fromisoformat(entry["timestamp"])
        return Applied(when.timestamp(), entry["resource_versions"])
    except (ValueError, KeyError, TypeError):
        return None


class AppliedLog:
    """Follows an agent's log from its end at the time of making."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self.applied: list[Applied] = []

    def read(self) -> None:
        """Take what was written since."""
        if not self._path.exists():
            return
        with self._path.open("rb") as log:
            log.seek(self._offset)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        found = (applied_of(line) for line in whole.decode().splitlines())
        self.applied += [one for one in found if one is not None]

    async def until(self, kind: str, resource_version: int, start: int = 0) -> Applied:
        """Wait for the first world, from number ``start`` on, that has a write.

        When it was applied is what the agent says: how often is looked has no part in it.

        Raises:
            NotAppliedError: it never came.
        """
        deadline = time.monotonic() + _LIMIT_SECONDS
        while time.monotonic() < deadline:
            self.read()
            for one in self.applied[start:]:
                if one.has(kind, resource_version):
                    return one
            await asyncio.sleep(_POLL_SECONDS)
        raise NotAppliedError(f"{kind}: version {resource_version} was not applied")
