"""Identities of the chart: switched on in two steps in a mesh that carries traffic."""

from __future__ import annotations

import asyncio
import json

import pytest
from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.kube_cluster import KubeCluster, kube_cluster
from culvert.model.identity import Identity
from culvert.rig import Rig

from tests.kube.cluster import Document, Town, eventually, http_server, kubectl, service
from tests.kube.release import AGENT, CHART, CONTROLLER, PROXY, helm, installed, rolled_out
from tests.kube.requests import address_of, client_in, fetch, load, serves
from tests.kube.test_chart import may

pytestmark = pytest.mark.kernel

ANOTHER_AGENT = "--set=agent.podAnnotations.again=yes"
OWN_SECRET = "secrets/culvert-controller-authority"
CONTROLLER_MAY = (
    (True, f"get {OWN_SECRET}"),
    (True, f"patch {OWN_SECRET}"),
    (True, "create secrets"),
    (False, f"update {OWN_SECRET}"),
    (False, f"delete {OWN_SECRET}"),
    (False, "get secrets"),
    (False, "list secrets"),
    (False, "patch secrets"),
)


def policy(namespace: str, account: str) -> Document:
    """Nobody but this service account may call."""
    principal = f"cluster.local/ns/{namespace}/sa/{account}"
    return {
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "callers"},
        "spec": {"rules": [{"from": [{"source": {"principals": [principal]}}]}]},
    }


def programmed(town: Town) -> bool:
    """Whether the controller says of the policy that all nodes enforce it."""
    shown = town.cluster.plane.kubectl(
        *("--namespace", town.namespace, "get", "authorizationpolicy/callers", "--output=json"),
    )
    conditions = json.loads(shown.stdout).get("status", {}).get("conditions", [])
    return any(one["type"] == "Programmed" and one["status"] == "True" for one in conditions)


def handshakes(cluster: KubeCluster) -> tuple[int, int]:
    """Complete TLS handshakes: of node-a's proxy with others, and of others with node-b's."""
    asked = cluster.installed("node-a").envoy_stats(r"^cluster\.tunnel\.ssl\.handshake$")
    answered = cluster.installed("node-b").envoy_stats(r"^listener\.tunnel\.ssl\.handshake$")
    return sum(asked.values()), sum(answered.values())


def identities(cluster: KubeCluster, node: str) -> set[str]:
    """The SPIFFE IDs of which a node's agent holds certificates."""
    status = cluster.installed(node).status().identities
    return {one.identity for one in status.certificates if one.ends_seconds} if status else set()


async def test_switched_on_step_by_step_traffic_goes_on_and_ends_up_in_mutual_tls(
    control_plane: ControlPlane, namespace: str
) -> None:
    with Rig() as rig:
        async with kube_cluster(rig, control_plane) as cluster:
            await kubectl(
                control_plane, "label", "namespace", namespace, "culvert.dev/mesh=enabled"
            )
            town = Town(cluster, namespace)
            default = Identity("cluster.local", namespace, "default").spiffe_id

            async def step(*values: str) -> None:
                await helm(control_plane, "upgrade", "culvert", str(CHART), *values)
                await rolled_out(control_plane, CONTROLLER, PROXY, AGENT)

            async with installed(cluster) as values:
                client = await client_in(town)
                server = http_server(replicas=1)
                server["spec"]["template"]["spec"]["nodeName"] = "node-b"
                await town.apply(server, service())
                await town.rolled_out("web")
                url = f"http://{await address_of(town)}/"
                await serves(client, url)

                on = (*values, "--set=identity.enabled=true")
                await step(*on, "--set=identity.acceptOnly=true")
                for node in ("node-a", "node-b"):
                    await eventually(
                        lambda node=node: default in identities(cluster, node),  # type: ignore[misc]
                        f"a certificate on {node}",
                    )
                await serves(client, url)
                assert handshakes(cluster) == (0, 0), "nodes take it, and do not ask for it"

                async with load(client, url) as summary:
                    await step(*on)
                    await eventually(lambda: min(handshakes(cluster)) > 0, "mutual TLS")
                assert summary["requests"] > 0
                assert summary["failures"] == 0, summary

                await town.apply(policy(namespace, "nobody-here"))
                await eventually(lambda: programmed(town), "the policy to be in force")
                await eventually(lambda: asyncio.run(fetch(client, url)) is None, "a refusal")
                await town.apply(policy(namespace, "default"))
                await serves(client, url)

                before = handshakes(cluster)
                async with load(client, url) as summary:
                    await town.kubectl("rollout", "restart", "deployment/web")
                    await town.rolled_out("web")
                    await helm(control_plane, "upgrade", "culvert", str(CHART), *on, ANOTHER_AGENT)
                    await rolled_out(control_plane, AGENT)
                assert summary["requests"] > 0
                assert summary["failures"] == 0, summary
                assert handshakes(cluster)[0] >= before[0], "Envoy has not been restarted"

                for allowed, request in CONTROLLER_MAY:
                    where = "--namespace=culvert-system"
                    found = await may(control_plane, "culvert-controller", request, where)
                    assert found is allowed, request
                assert await may(control_plane, "culvert-controller", "list pods")
                assert not await may(control_plane, "culvert-controller", "create secrets")
