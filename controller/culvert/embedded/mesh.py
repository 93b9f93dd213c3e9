"""The embedded mesh: a rig's nodes, each with an agent and an Envoy of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from culvert.embedded.mesh_node import BPFFS, MeshNode, MeshOptions, remove_pins
from culvert.rig.node import Node
from culvert.rig.process import stop
from culvert.rig.rig import Rig


class LocalMesh:
    """Agents and proxies on the nodes of ``rig``, fed from the folder ``manifests``.

    Use it in a ``with`` statement inside the rig's: on leaving, every program is detached and every
    pin removed, whatever happened.
    """

    def __init__(self, rig: Rig, manifests: Path, options: MeshOptions | None = None) -> None:
        self._rig = rig
        self._manifests = manifests
        self._options = options or MeshOptions()
        self.nodes: dict[str, MeshNode] = {}
        self.authority: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, node: Node, *, options: MeshOptions | None = None) -> MeshNode:
        """Prepare a node of the rig; nothing runs yet."""
        mesh_node = MeshNode(
            node,
            rig_id=self._rig.rig_id,
            cgroup_root=self._rig.cgroup.parent,
            directory=self._rig.directory / node.name,
            manifests=self._manifests,
            options=options or self._options,
        )
        self.nodes[node.name] = mesh_node
        return mesh_node

    def start(self) -> None:
        """Start every node's agent and Envoy and wait until all are ready.

        Raises:
            NotReadyError: one was not; says why.
        """
        if self._options.identity:
            self.start_authority()
        for node in self.nodes.values():
            node.start_agent()
            node.start_envoy()
        for node in self.nodes.values():
            node.wait_ready()

    def start_authority(self) -> None:
        """Start the certificate authority; its log goes to ``ca.log``, appended to."""
        options = self._options
        argv = [sys.executable, "-m", "culvert", "ca", "--manifests", str(self._manifests)]
        for name, node in self.nodes.items():
            argv += ["--socket", f"{name}={node.ca_socket}"]
        argv += ["--certificate-lifetime", options.certificate_lifetime]
        argv += ["--root-lifetime", options.root_lifetime, "--log-level", options.log_level]
        if options.authority_state is not None:
            argv += ["--state", str(options.authority_state)]
        host = next(iter(self.nodes.values())).node
        with (self._rig.directory / "ca.log").open("ab") as log:
            self.authority = host.start(argv, stdout=log, stderr=log)

    def kill_authority(self) -> None:
        """``kill -9``, and wait for the end."""
        assert self.authority is not None
        self.authority.kill()
        self.authority.wait()

    def close(self) -> None:
        """End everything; a second call does nothing."""
        if self.authority is not None and self.authority.poll() is None:
            stop(self.authority, grace_seconds=5.0)
        for node in self.nodes.values():
            node.close()


def orphaned_pins(live_rigs: frozenset[str]) -> list[Path]:
    """Directories in bpffs of embedded meshes whose rig is gone."""
    return [
        path
        for path in sorted(BPFFS.glob("culvert-*-*"))
        if path.name.split("-")[1] not in live_rigs
    ]


def sweep_pins(live_rigs: frozenset[str] = frozenset()) -> list[str]:
    """Remove what killed meshes left in bpffs; returns what was removed."""
    removed = []
    for path in orphaned_pins(live_rigs):
        removed += [f"{path.name}: {line}" for line in remove_pins(path)]
    return removed
