"""Nodes make themselves known to the API server, and show that they are alive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import structlog

from culvert.kube.client import KubeClient
from culvert.kube.errors import ApiError, ApiUnreachable
from culvert.kube.timestamps import now_rfc3339, now_rfc3339_micro
from culvert.rig.kube.node_object import lease, node_object, node_status
from culvert.rig.node import Node

_log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 10.0
RETRY_SECONDS = 1.0


async def keep_registered(
    client: KubeClient, node: Node, labels: Mapping[str, str], *, kubelet_port: int
) -> None:
    """Register a node, and renew its status and Lease until cancelled.

    A Node object that somebody deletes comes back with the next heartbeat.
    """
    while True:
        try:
            await _register(client, node, labels, kubelet_port)
        except (ApiError, ApiUnreachable) as error:
            _log.debug("node not registered", node=node.name, error=str(error))
            await asyncio.sleep(RETRY_SECONDS)
        else:
            await asyncio.sleep(HEARTBEAT_SECONDS)


async def _register(
    client: KubeClient, node: Node, labels: Mapping[str, str], kubelet_port: int
) -> None:
    path = f"/api/v1/nodes/{node.name}"
    wanted = node_object(node.name, labels, node.addresses)
    try:
        present = json.loads(await client.get(path))
    except ApiError as error:
        if error.status != 404:
            raise
        present = json.loads(await client.create("/api/v1/nodes", wanted))
    version = json.loads(await client.get("/version"))["gitVersion"]
    status = node_status(
        node.name,
        node.addresses,
        now=now_rfc3339(),
        kubelet_port=kubelet_port,
        kubelet_version=version,
    )
    _keep_transition_times(status, present.get("status") or {})
    await client.merge_patch(f"{path}/status", {"status": status})
    await client.apply(
        f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node.name}",
        lease(node.name, node_uid=present["metadata"]["uid"], now_micro=now_rfc3339_micro()),
        field_manager="kubelet",
    )


def _keep_transition_times(status: dict[str, Any], before: Mapping[str, Any]) -> None:
    known = {condition["type"]: condition for condition in before.get("conditions") or []}
    for condition in status["conditions"]:
        former = known.get(condition["type"])
        if former and former["status"] == condition["status"]:
            condition["lastTransitionTime"] = former["lastTransitionTime"]
