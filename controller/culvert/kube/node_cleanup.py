"""Taking the data path off every node of a cluster, by way of the agents' own DaemonSet.

A node's programs and pins outlive its agent on purpose, so removing the DaemonSet removes none of
them. Instead its pods are replaced, all at once, by ones that clean their node and then stay: when
all of these are ready, every node is clean, and nobody but the caller needed to write to the API.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from culvert.kube.client import KubeClient

DONE_FILE = "/tmp/cleaned"
_POLL_SECONDS = 1.0
_KEPT = ("image", "imagePullPolicy", "securityContext", "volumeMounts", "resources")


class NotCleanedError(Exception):
    """Some nodes were not clean in time; says how many."""


async def clean_nodes(
    api: KubeClient, namespace: str, daemonset: str, timeout_seconds: float
) -> int:
    """Clean every node that has a pod of the DaemonSet; returns how many there are.

    Raises:
        NotCleanedError: it took too long.
        ApiError: the server refused.
        ApiUnreachable: there is no answer.
    """
    path = f"/apis/apps/v1/namespaces/{namespace}/daemonsets/{daemonset}"
    patched = json.loads(
        await api.merge_patch(path, cleaning_patch(json.loads(await api.get(path))))
    )
    generation = patched["metadata"]["generation"]
    status: Mapping[str, Any] = {}
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                status = json.loads(await api.get(path)).get("status") or {}
                if is_clean(status, generation):
                    return int(status["desiredNumberScheduled"])
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        wanted = status.get("desiredNumberScheduled", 0)
        ready = min(status.get("updatedNumberScheduled", 0), status.get("numberReady", 0))
        raise NotCleanedError(
            f"{wanted - ready} of {wanted} nodes are not clean after {timeout_seconds:g} s: "
            f"see kubectl --namespace {namespace} get pods of DaemonSet {daemonset}"
        ) from None


def is_clean(status: Mapping[str, Any], generation: int) -> bool:
    """Whether a DaemonSet's status says that all of its pods are new and ready."""
    wanted: int = status.get("desiredNumberScheduled", 0)
    observed: int = status.get("observedGeneration", 0)
    updated: int = status.get("updatedNumberScheduled", 0)
    ready: int = status.get("numberReady", 0)
    return observed >= generation and updated == wanted == ready


def cleaning_patch(daemonset: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch that turns an agents' DaemonSet into one that cleans."""
    spec = daemonset["spec"]["template"]["spec"]
    agent = spec["containers"][0]
    cleaner = {
        **{field: agent[field] for field in _KEPT if field in agent},
        "name": "clean",
        "command": ["culvert", "uninstall"],
        "args": [f"--done-file={DONE_FILE}", "--stay"],
        "readinessProbe": {"exec": {"command": ["test", "-e", DONE_FILE]}, "periodSeconds": 1},
    }
    at_once = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%", "maxSurge": 0}}
    return {
        "spec": {
            "updateStrategy": at_once,
            "template": {"spec": {"initContainers": None, "containers": [cleaner]}},
        }
    }
