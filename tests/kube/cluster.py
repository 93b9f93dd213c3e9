"""A cluster for the traffic tests, and the words to speak of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import yaml
from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.kube_cluster import KubeCluster

LIMIT_SECONDS = 120.0
SERVER_PORT = 8080

Document = dict[str, Any]


async def kubectl(plane: ControlPlane, *arguments: str, stdin: str | None = None) -> str:
    """What it prints; a failure fails the test."""
    done = await asyncio.to_thread(plane.kubectl, *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def eventually(holds: Callable[[], bool], what: str) -> None:
    """Return when it holds; how soon is not asserted."""
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            while not await asyncio.to_thread(holds):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never came true: {what}") from None


class Town:
    """One namespace of a cluster."""

    def __init__(self, cluster: KubeCluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    async def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """In this namespace."""
        return await kubectl(
            self.cluster.plane, "--namespace", self.namespace, *arguments, stdin=stdin
        )

    async def apply(self, *documents: Document) -> None:
        """Make or change objects."""
        await self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))

    async def get(self, kind: str, *arguments: str) -> list[Document]:
        """The objects of a kind."""
        shown = await self.kubectl("get", kind, *arguments, "--output", "json")
        return list(json.loads(shown)["items"])

    async def rolled_out(self, deployment: str) -> None:
        """Wait until a Deployment is as it should be."""
        limit = f"--timeout={LIMIT_SECONDS:.0f}s"
        await self.kubectl("rollout", "status", f"deployment/{deployment}", limit)

    async def pods_are(self, selector: str, count: int) -> list[Document]:
        """Wait until there are so many pods, those that terminate included, all ready."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                pods = await self.get("pods", "--selector", selector)
                if len(pods) == count and all(map(is_ready, pods)):
                    return pods
                await asyncio.sleep(0.2)


def is_ready(pod: Document) -> bool:
    """Whether a pod says that it is ready."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def http_server(
    name: str = "web", *, replicas: int = 2, labels: dict[str, str] | None = None
) -> Document:
    """A Deployment of servers that say which pod they are, and drain when they are stopped."""
    labels = labels or {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"culvert.dev/acceleration": "enabled"},
                },
                "spec": {
                    "terminationGracePeriodSeconds": 20,
                    "containers": [
                        {
                            "name": "server",
                            "image": "local",
                            "command": ["python", "-m", "culvert.rig.workloads.http_echo"],
                            "args": ["--port", str(SERVER_PORT)],
                            "ports": [{"name": "http", "containerPort": SERVER_PORT}],
                            "readinessProbe": {
                                "httpGet": {"path": "/healthz", "port": "http"},
                                "periodSeconds": 1,
                            },
                            "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
                        }
                    ],
                },
            },
        },
    }


def service(name: str = "web", *, port: int = 80, **spec: Any) -> Document:
    """A Service for the pods of the same name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "port": port, "targetPort": "http", "appProtocol": "http"}],
            **spec,
        },
    }


def idle_pod(name: str, *, node: str = "", labels: dict[str, str] | None = None) -> Document:
    """A pod in which the test starts programs of its own."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"app": name, **(labels or {})},
            "annotations": {"culvert.dev/acceleration": "enabled"},
        },
        "spec": {
            **({"nodeName": node} if node else {}),
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "idle", "image": "local", "command": ["sleep", "infinity"]}],
        },
    }
