"""One node of the embedded mesh: its Envoy and its agent, as processes in the node's namespace."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from culvert.compile.bootstrap import bootstrap_json, compile_bootstrap
from culvert.embedded.node_view import NodeView
from culvert.redirect.removal import remove_data_path
from culvert.rig.node import Node
from culvert.rig.process import stop

BPFFS = Path("/sys/fs/bpf")
IN_POD = "culvert"


@dataclass(frozen=True, slots=True)
class MeshOptions:
    """How agents and proxies are run. ``concurrency`` is Envoy's number of worker threads."""

    accelerate: bool = True
    fail_open: bool = False
    concurrency: int = 1
    budget_bytes: int | None = None
    max_redirect_bytes: int | None = None
    identity: bool = False
    """Whether pods have certificates, from an authority that the mesh runs."""
    certificate_lifetime: str = "24h"
    root_lifetime: str = "87600h"
    authority_state: Path | None = None
    """Where the authority keeps its keys; else in its memory."""
    tunnel_lifetime: str = "1h"
    log_level: str = "info"
    """Of the agent: ``debug``, ``info``, ``warning`` or ``error``."""


def pins_of(rig_id: str, node: str) -> Path:
    """The directory in bpffs of one node's agent."""
    return BPFFS / f"culvert-{rig_id}-{node}"


def remove_pins(pins: Path) -> list[str]:
    """Take the data path of one node away, whether its agent ran on it or in a pod of its own.

    In a pod the directory is all of bpffs, and the agent's is in it.
    """
    return [*remove_data_path(pins / IN_POD), *remove_data_path(pins)]


class MeshNode(NodeView):
    """Starts, asks and ends the two processes of one node.

    The agent reads ``manifests``, or with None the API that ``kubeconfig`` names.
    """

    def __init__(
        self,
        node: Node,
        *,
        rig_id: str,
        cgroup_root: Path,
        directory: Path,
        manifests: Path | None,
        options: MeshOptions,
        kubeconfig: Path | None = None,
    ) -> None:
        super().__init__(node.name, directory / "status.sock", directory / "admin.sock", directory)
        self.node = node
        self.directory = directory
        self.ca_socket = directory / "ca.sock"
        self.pins = pins_of(rig_id, node.name)
        self.agent: subprocess.Popen[bytes] | None = None
        self.envoy: subprocess.Popen[bytes] | None = None
        self._cgroup_root = cgroup_root
        self._manifests = manifests
        self._kubeconfig = kubeconfig
        self._options = options
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def start_agent(self) -> None:
        """Start the agent; its log goes to ``agent.log``, appended to."""
        argv = [sys.executable, "-m", "culvert", "agent", "--node", self.node.name]
        if self._manifests is not None:
            argv += ["--manifests", str(self._manifests)]
        if self._kubeconfig is not None:
            argv += ["--kubeconfig", str(self._kubeconfig)]
        argv += ["--pods-cgroup", str(self.node.pods_cgroup)]
        argv += ["--proxy-cgroup", str(self.node.proxy_cgroup)]
        argv += ["--cgroup-root", str(self._cgroup_root)]
        argv += ["--bpf-root", str(self.pins)]
        argv += ["--run-directory", str(self.directory)]
        options = self._options
        argv += ["--log-level", options.log_level]
        if options.identity:
            argv += ["--ca-socket", str(self.ca_socket)]
            argv += ["--tunnel-lifetime", options.tunnel_lifetime]
        if not options.accelerate:
            argv += ["--without", "acceleration"]
        if options.fail_open:
            argv += ["--fail-open"]
        if options.budget_bytes is not None:
            argv += ["--budget-bytes", str(options.budget_bytes)]
        if options.max_redirect_bytes is not None:
            argv += ["--max-redirect-bytes", str(options.max_redirect_bytes)]
        with (self.directory / "agent.log").open("ab") as log:
            self.agent = self.node.start(argv, stdout=log, stderr=log)

    def start_envoy(self) -> None:
        """Start Envoy; its log goes to ``envoy.log``, appended to."""
        bootstrap = self.directory / "bootstrap.json"
        bootstrap.write_text(
            bootstrap_json(
                compile_bootstrap(
                    self.node.name,
                    str(self.directory / "xds.sock"),
                    str(self.admin_socket),
                    identity=self._options.identity,
                )
            )
        )
        self.admin_socket.unlink(missing_ok=True)
        envoy = Path(sys.executable).with_name("envoy")
        argv = [str(envoy), "-c", str(bootstrap), "--disable-hot-restart"]
        argv += ["--concurrency", str(self._options.concurrency), "--log-level", "warning"]
        with (self.directory / "envoy.log").open("ab") as log:
            self.envoy = self.node.start(
                argv, cgroup=self.node.proxy_cgroup, stdout=log, stderr=log
            )

    def kill_agent(self) -> None:
        """``kill -9``, and wait for the end."""
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait()

    def kill_envoy(self) -> None:
        """``kill -9``, and wait for the end."""
        assert self.envoy is not None
        self.envoy.kill()
        self.envoy.wait()

    def problem(self) -> str:
        """What ended, and its last words."""
        for name, process in (("agent", self.agent), ("envoy", self.envoy)):
            if process is not None and process.poll() is not None:
                return f"the {name} ended with status {process.returncode}: " + _last_line(
                    self.directory / f"{name}.log"
                )
        return ""

    def close(self) -> None:
        """End both processes and take the data path away; a second call does nothing."""
        for process in (self.agent, self.envoy):
            if process is not None and process.poll() is None:
                stop(process, grace_seconds=5.0)
        remove_pins(self.pins)


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    if not lines:
        return "no output"
    try:
        entry = json.loads(lines[-1])
        return str(entry.get("reason", entry["event"]))
    except (ValueError, AttributeError, KeyError):
        return lines[-1][:500]
