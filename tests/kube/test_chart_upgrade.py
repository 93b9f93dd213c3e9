"""From the first version of the chart to this one, under load."""

from __future__ import annotations

from pathlib import Path

import pytest
from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.kube_cluster import kube_cluster
from culvert.rig import Rig

from tests.kube.cluster import Town, eventually, http_server, kubectl, service
from tests.kube.release import (
    AGENT,
    CHART,
    CONTROLLER,
    PROXY,
    helm,
    installed,
    processes,
    rolled_out,
)
from tests.kube.requests import address_of, client_in, load, serves

pytestmark = pytest.mark.kernel

FIRST = Path(__file__).parents[1] / "chart" / "first" / "culvert-0.1.0.tgz"


async def test_upgrade_from_the_first_version_fails_no_request_and_restarts_no_envoy(
    control_plane: ControlPlane, namespace: str
) -> None:
    with Rig() as rig:
        async with kube_cluster(rig, control_plane) as cluster:
            await kubectl(
                control_plane, "label", "namespace", namespace, "culvert.dev/mesh=enabled"
            )
            town = Town(cluster, namespace)
            async with installed(cluster, FIRST, (AGENT, PROXY)) as values:
                client = await client_in(town)
                await town.apply(http_server(replicas=2), service())
                await town.rolled_out("web")
                url = f"http://{await address_of(town)}/"
                await serves(client, url)
                node = cluster.installed("node-a")
                await eventually(
                    lambda: client.cgroup_id in node.status().captured_cgroup_ids,
                    "the client to be captured",
                )
                agents, proxies = processes(cluster, "agent"), processes(cluster, "proxy")
                assert len(agents) == len(proxies) == 2
                before = node.status().verdicts["connect_redirected"].count
                async with load(client, url) as summary:
                    await helm(control_plane, "upgrade", "culvert", str(CHART), *values)
                    await rolled_out(control_plane, AGENT, PROXY, CONTROLLER)
                assert summary["requests"] > 0
                assert summary["failures"] == 0, summary
                assert processes(cluster, "proxy") == proxies
                assert not set(processes(cluster, "agent").values()) & set(agents.values())
                assert node.status().verdicts["connect_redirected"].count > before
