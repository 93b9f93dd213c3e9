"""Pods of a real API server, run by the stand-ins of scheduler and kubelet."""

from __future__ import annotations

import pytest
from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.kube_cluster import kube_cluster
from culvert.rig import Rig

from tests.kube.cluster import Town, eventually, http_server, service

pytestmark = pytest.mark.kernel


async def test_deployment_runs_on_both_nodes_and_is_gone_when_it_is_deleted(
    control_plane: ControlPlane, namespace: str
) -> None:
    with Rig() as rig:
        async with kube_cluster(rig, control_plane) as cluster:
            town = Town(cluster, namespace)
            await town.apply(http_server(), service())
            await town.rolled_out("web")
            pods = await town.pods_are("app=web", 2)
            assert {pod["spec"]["nodeName"] for pod in pods} == {"node-a", "node-b"}
            address = (await town.get("services"))[0]["spec"]["clusterIP"]
            running = cluster.pod(namespace, pods[0]["metadata"]["name"])
            assert running.ipv4 == pods[0]["status"]["podIP"]
            curl = ["curl", "-sS", "--max-time", "10", f"http://{address}/"]
            await eventually(lambda: b'"pod"' in running.run(curl).stdout, "the Service answers")
            await town.kubectl("delete", "deployment", "web", "--wait=true")
            await town.pods_are("app=web", 0)
            slices = await town.get("endpointslices")
            assert not any(part.get("endpoints") for part in slices)
