"""A small mesh for the end-to-end tests: two nodes, pods that are added by hand, one folder."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from culvert.embedded.mesh import LocalMesh
from culvert.embedded.mesh_node import MeshNode, MeshOptions
from culvert.rig import Pod, Rig

WORKLOADS = "culvert.rig.workloads."
SERVER_PORT = 8080


def eventually(condition: Callable[[], bool], what: str, timeout_seconds: float = 30.0) -> None:
    """Wait for something that must come true; the limit is generous and asserts no speed."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)


class Town:
    """Writes manifests and starts programs; the rig and the mesh do the rest."""

    def __init__(
        self, rig: Rig, options: MeshOptions, nodes: Iterable[str] = ("node-a", "node-b")
    ) -> None:
        self.rig = rig
        self.manifests = rig.directory / "manifests"
        self.manifests.mkdir()
        self.mesh = LocalMesh(rig, self.manifests, options)
        self.pods: dict[str, Pod] = {}
        self._seen: dict[str, int] = {}
        self.write("namespace", {**_object("Namespace", "default"), "apiVersion": "v1"})
        for name in nodes:
            node = rig.add_node(name)
            self.mesh.add(node)
            addresses = [node.addresses.ipv4, node.addresses.ipv6]
            self.write(
                f"node-{name}",
                {
                    **_object("Node", name),
                    "status": {
                        "addresses": [{"type": "InternalIP", "address": one} for one in addresses]
                    },
                },
            )

    def write(self, file: str, *documents: Mapping[str, Any]) -> None:
        """Put a file in place of the one of that name, in one step."""
        for name, node in self.mesh.nodes.items():
            self._seen[name] = _generation(node)
        temporary = self.manifests / f".{file}"
        temporary.write_text(yaml.safe_dump_all(documents))
        temporary.replace(self.manifests / f"{file}.yaml")

    def remove(self, file: str) -> None:
        (self.manifests / f"{file}.yaml").unlink()

    def pod(
        self,
        node: str,
        name: str,
        *program: str,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        account: str = "default",
        number: int | None = None,
    ) -> Pod:
        """Add a pod; ``program`` is a workload and its arguments.

        With the ``number`` of a pod that is gone it has that one's addresses.
        """
        pod = self.rig.nodes[node].add_pod(name, number=number)
        self.pods[name] = pod
        document = _object("Pod", name)
        document["metadata"] |= {
            "uid": pod.uid,
            "labels": {"culvert.dev/mesh": "enabled", **(labels or {})},
            "annotations": {"culvert.dev/acceleration": "enabled", **(annotations or {})},
        }
        document["spec"] = {
            "nodeName": node,
            "serviceAccountName": account,
            "containers": [{"name": "main", "image": "local"}],
        }
        document["status"] = {
            "phase": "Running",
            "podIP": pod.ipv4,
            "podIPs": [{"ip": pod.ipv4}, {"ip": pod.ipv6}],
        }
        self.write(f"pod-{name}", document)
        if program:
            self.start(name, *program)
        return pod

    def label(self, name: str, **labels: str) -> None:
        """Give a pod further labels."""
        file = self.manifests / f"pod-{name}.yaml"
        document = yaml.safe_load(file.read_text())
        document["metadata"]["labels"] |= labels
        self.write(f"pod-{name}", document)

    def start(self, pod: str, *program: str) -> subprocess.Popen[bytes]:
        """Run a workload in a pod, until the rig ends it."""
        argv = [sys.executable, "-m", WORKLOADS + program[0], *program[1:]]
        return self.pods[pod].start(argv, env=_environment(pod), stdout=subprocess.PIPE)

    def service(
        self,
        name: str,
        address: str,
        endpoints: Iterable[str],
        *,
        port: int = 80,
        protocol: str = "http",
    ) -> None:
        """A Service and the slice of its ready endpoints; calling again replaces both."""
        metadata = _object("Service", name)
        ports = [{"name": "main", "port": port, "targetPort": SERVER_PORT, "appProtocol": protocol}]
        service = {**metadata, "spec": {"clusterIP": address, "clusterIPs": [address]}}
        service["spec"] |= {"ports": ports, "selector": {"app": name}}
        slice_ = _object("EndpointSlice", f"{name}-1", "discovery.k8s.io/v1")
        slice_["metadata"]["labels"] = {"kubernetes.io/service-name": name}
        slice_ |= {
            "addressType": "IPv6" if ":" in address else "IPv4",
            "ports": [{"name": "main", "port": SERVER_PORT, "protocol": "TCP"}],
            "endpoints": [
                {
                    "addresses": [pod.ipv6 if ":" in address else pod.ipv4],
                    "conditions": {"ready": True, "serving": True, "terminating": False},
                    "nodeName": pod.node_name,
                    "targetRef": {"kind": "Pod", "name": pod.name, "namespace": "default"},
                }
                for pod in (self.pods[one] for one in endpoints)
            ],
        }
        self.write(f"service-{name}", service, slice_)

    def load(self, pod: str, *program: str) -> dict[str, Any]:
        """Run a load client to its end and return its summary."""
        argv = [sys.executable, "-m", WORKLOADS + program[0], *program[1:]]
        done = self.pods[pod].run(argv, timeout_seconds=120)
        return summary(done.stdout)

    def settle(self) -> None:
        """Wait until both nodes have applied what was written last."""
        for name, node in self.mesh.nodes.items():
            seen = self._seen[name]
            eventually(lambda n=node, s=seen: n.status().generation > s, "the change to be seen")
            node.wait_ready()

    def verdict(self, node: str, name: str) -> int:
        return self.mesh.nodes[node].status().verdicts[name].count

    def log(self, node: str, program: str) -> Path:
        return self.mesh.nodes[node].directory / f"{program}.log"


def _generation(node: MeshNode) -> int:
    try:
        return node.status().generation
    except OSError:
        return 0


def summary(output: bytes) -> dict[str, Any]:
    """The last line of a load client."""
    lines = output.decode().strip().splitlines()
    assert lines, "the load client printed nothing"
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def _object(kind: str, name: str, version: str = "v1") -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
    }


def _environment(pod: str) -> dict[str, str]:
    return {"POD_NAME": pod, "HOSTNAME": pod, "PYTHONPATH": ":".join(filter(None, sys.path))}
