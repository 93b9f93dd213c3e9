"""Traffic while Deployments, Services and namespaces of a real API server change.

One cluster for all tests of this file: two nodes, each with a real agent, Envoy and data path.
Every test has a namespace of its own. The long variant is the same with identities, by the chart.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.kube_cluster import KubeCluster, kube_cluster
from culvert.embedded.node_view import NodeView
from culvert.rig import Rig

from tests.kube.cluster import (
    LIMIT_SECONDS,
    Town,
    eventually,
    http_server,
    service,
)
from tests.kube.release import installed
from tests.kube.requests import address_of, client_in, fetch, load, serves

pytestmark = [pytest.mark.kernel, pytest.mark.asyncio(loop_scope="module")]

MESH = {"culvert.dev/mesh": "enabled"}


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["plain", pytest.param("identity", marks=pytest.mark.long)],
)
async def cluster(
    request: pytest.FixtureRequest, control_plane: ControlPlane
) -> AsyncIterator[KubeCluster]:
    with Rig() as rig:
        async with kube_cluster(rig, control_plane) as running:
            if request.param == "plain":
                await running.start_mesh()
                yield running
                return
            async with installed(running, values=["--set=identity.enabled=true"]):
                yield running
                tunnels = running.installed("node-a").envoy_stats("cluster.tunnel.ssl.handshake")
                assert sum(tunnels.values()) > 0, "what went to node-b went by mutual TLS"


@pytest.fixture
def town(cluster: KubeCluster, namespace: str) -> Town:
    labelled = cluster.plane.kubectl("label", "namespace", namespace, "culvert.dev/mesh=enabled")
    assert labelled.returncode == 0, labelled.stderr
    return Town(cluster, namespace)


def has_endpoints(town: Town, name: str) -> bool:
    """Whether the control plane has found endpoints for a Service."""
    shown = town.cluster.plane.kubectl(
        *("--namespace", town.namespace, "get", "endpointslices", "--output=name"),
        f"--selector=kubernetes.io/service-name={name}",
    )
    return bool(shown.stdout.strip())


def agent_of(cluster: KubeCluster, node: str) -> NodeView:
    """The agent of a node: a process of the tests, or a pod of the chart."""
    started = cluster.mesh[node]
    return cluster.installed(node) if started.agent is None else started


def redirected(cluster: KubeCluster, node: str = "node-a") -> int:
    """Connections that the node's programs have brought to its proxy."""
    return agent_of(cluster, node).status().verdicts["connect_redirected"].count


async def test_rolling_restart_under_load_fails_no_request(
    cluster: KubeCluster, town: Town
) -> None:
    client = await client_in(town)
    await town.apply(http_server(replicas=2), service())
    await town.rolled_out("web")
    url = f"http://{await address_of(town)}/"
    await serves(client, url)
    before = {pod["metadata"]["uid"] for pod in await town.pods_are("app=web", 2)}
    async with load(client, url) as summary:
        await town.kubectl("rollout", "restart", "deployment/web")
        await town.rolled_out("web")
        pods = await town.pods_are("app=web", 2)
        await asyncio.sleep(2)
    assert not before & {pod["metadata"]["uid"] for pod in pods}
    assert summary["requests"] > 0
    assert summary["failures"] == 0, summary


async def test_scaling_up_and_down_under_load_fails_no_request(
    cluster: KubeCluster, town: Town
) -> None:
    client = await client_in(town)
    await town.apply(http_server(replicas=1), service())
    await town.rolled_out("web")
    url = f"http://{await address_of(town)}/"
    await serves(client, url)
    async with load(client, url) as summary:
        await town.kubectl("scale", "deployment/web", "--replicas=3")
        await town.rolled_out("web")
        await town.pods_are("app=web", 3)
        await asyncio.sleep(2)
        await town.kubectl("scale", "deployment/web", "--replicas=1")
        await town.pods_are("app=web", 1)
    assert summary["failures"] == 0, summary
    assert len(summary["answers"]) == 3, "new pods took part"


async def test_deleted_deployment_ends_in_clear_refusals_and_comes_back(
    cluster: KubeCluster, town: Town
) -> None:
    client = await client_in(town)
    await town.apply(http_server(replicas=1), service())
    await town.rolled_out("web")
    url = f"http://{await address_of(town)}/"
    await serves(client, url)
    await town.kubectl("delete", "deployment", "web")
    await town.pods_are("app=web", 0)
    done = await asyncio.to_thread(
        client.run,
        ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20", url],
    )
    assert done.stdout == b"503", "the proxy answers for a Service without endpoints"
    await town.apply(http_server(replicas=1))
    await town.rolled_out("web")
    await serves(client, url)


async def test_edited_port_and_selector_of_a_service_move_its_traffic(
    cluster: KubeCluster, town: Town
) -> None:
    client = await client_in(town)
    await town.apply(http_server("web", replicas=1), http_server("other", replicas=1), service())
    await town.rolled_out("web")
    await town.rolled_out("other")
    address = await address_of(town)
    await serves(client, f"http://{address}/")
    await town.apply(service(port=8088))
    await serves(client, f"http://{address}:8088/")
    await town.apply(service(port=8088, selector={"app": "other"}))
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            seen = await fetch(client, f"http://{address}:8088/")
            if seen is not None and seen["pod"].startswith("other-"):
                break
            await asyncio.sleep(0.2)
    assert redirected(cluster) > 0


async def test_headless_service_reaches_the_pod_that_was_asked_for(
    cluster: KubeCluster, town: Town
) -> None:
    client = await client_in(town)
    await town.apply(http_server(replicas=2), service(clusterIP="None"))
    await town.rolled_out("web")
    pods = await town.pods_are("app=web", 2)
    for pod in pods:
        url = f"http://{pod['status']['podIP']}:8080/"
        await serves(client, url)
        before = redirected(cluster)
        seen = await fetch(client, url)
        assert seen["pod"] == pod["metadata"]["name"]
        assert redirected(cluster) == before + 1


async def test_external_name_is_left_alone_and_said_so(cluster: KubeCluster, town: Town) -> None:
    await town.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "outside"},
            "spec": {"type": "ExternalName", "externalName": "example.com"},
        }
    )
    subject = f"Service {town.namespace}/outside"
    await eventually(
        lambda: any(
            one.subject == subject and "example.com" in one.message
            for one in agent_of(cluster, "node-a").status().findings
        ),
        "a finding about the ExternalName",
    )


async def test_label_of_the_namespace_takes_running_pods_in_and_out(
    cluster: KubeCluster, town: Town
) -> None:
    client = await client_in(town)
    await town.apply(http_server(replicas=1), service())
    await town.rolled_out("web")
    url = f"http://{await address_of(town)}/"
    await serves(client, url)
    node = agent_of(cluster, "node-a")
    for label, captured in (("disabled", False), ("enabled", True), ("disabled", False)):
        await town.kubectl(
            "label", "--overwrite", "namespace", town.namespace, f"culvert.dev/mesh={label}"
        )
        await eventually(
            lambda captured=captured: (
                (client.cgroup_id in node.status().captured_cgroup_ids) is captured
            ),
            f"the pod's capture to be {captured}",
        )
        before = redirected(cluster)
        assert await fetch(client, url) is not None
        assert (redirected(cluster) > before) is captured
    name = f"{town.namespace}/client"
    assert node.status().early_connections == {}, "it is not captured now"
    await town.kubectl(
        "label", "--overwrite", "namespace", town.namespace, "culvert.dev/mesh=enabled"
    )
    await eventually(
        lambda: node.status().early_connections.get(name) == 1,
        "the connection from before the capture to be counted",
    )


async def test_dual_stack_service_is_served_on_both_addresses(
    cluster: KubeCluster, town: Town
) -> None:
    client = await client_in(town)
    await town.apply(http_server(replicas=1), service(ipFamilyPolicy="RequireDualStack"))
    await town.rolled_out("web")
    (found,) = await town.get("services")
    four, six = found["spec"]["clusterIPs"]
    for url in (f"http://{four}/", f"http://[{six}]/"):
        await serves(client, url)
        before = redirected(cluster)
        assert await fetch(client, url) is not None
        assert redirected(cluster) > before


async def test_draining_endpoint_keeps_its_requests_and_gets_no_new_ones(
    cluster: KubeCluster, town: Town
) -> None:
    client = await client_in(town)
    await town.apply(http_server(replicas=2), service())
    await town.rolled_out("web")
    pods = await town.pods_are("app=web", 2)
    url = f"http://{await address_of(town)}/"
    await serves(client, url)
    slow = [asyncio.create_task(fetch(client, f"{url}delay/3000")) for _ in range(6)]
    await asyncio.sleep(1)
    gone = pods[0]["metadata"]["name"]
    await town.kubectl("delete", "pod", gone, "--wait=false")
    answers = await asyncio.gather(*slow)
    assert None not in answers, "requests under way are answered"
    await town.pods_are("app=web", 2)
    later = [await fetch(client, url) for _ in range(10)]
    assert None not in later
    assert gone not in {seen["pod"] for seen in later}


async def test_api_server_restart_in_the_middle_of_changes_loses_none(
    cluster: KubeCluster, town: Town
) -> None:
    client = await client_in(town)
    await town.apply(http_server(replicas=1), service())
    await town.rolled_out("web")
    url = f"http://{await address_of(town)}/"
    await serves(client, url)
    async with load(client, url) as summary:
        await town.kubectl("scale", "deployment/web", "--replicas=3")
        await asyncio.to_thread(cluster.plane.restart_api_server)
        await town.apply(service("second", selector={"app": "web"}))
        await asyncio.to_thread(cluster.plane.compact_etcd)
        await town.pods_are("app=web", 3)
    await eventually(lambda: has_endpoints(town, "second"), "the cluster to make endpoints")
    await serves(client, f"http://{await address_of(town, 'second')}/")
    assert summary["failures"] == 0, summary
