"""The charts on a real API server: what Helm applies runs, with its capabilities and no more."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.helm import SYSTEM_NAMESPACE as SYSTEM
from culvert.embedded.kube_cluster import KubeCluster, kube_cluster
from culvert.rig import Rig
from culvert.status.document import AgentStatus

from tests.kube.cluster import Town, eventually, http_server, idle_pod, kubectl, service
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
from tests.kube.requests import fetch

pytestmark = pytest.mark.kernel

CAP_NET_ADMIN, CAP_BPF = 12, 39


AGENT_MAY = (
    (True, "watch pods"),
    (True, "list services"),
    (True, "list nodes"),
    (True, "get namespaces"),
    (True, "watch endpointslices.discovery.k8s.io"),
    (True, "list trafficpolicies.culvert.dev"),
    (True, "watch meshconfigs.culvert.dev"),
    (False, "list secrets"),
    (False, "get secrets"),
    (False, "list configmaps"),
    (False, "create tokenreviews.authentication.k8s.io"),
    (False, "create pods"),
    (False, "create pods --subresource=exec"),
    (False, "update services"),
    (False, "patch nodes"),
    (False, "patch trafficpolicies.culvert.dev --subresource=status"),
    (False, "create events"),
    (False, "create serviceaccounts --subresource=token"),
)


CONTROLLER_MAY = (
    (True, "watch services"),
    (True, "list nodes"),
    (True, "get pods"),
    (True, "watch trafficpolicies.culvert.dev"),
    (True, "patch trafficpolicies.culvert.dev --subresource=status"),
    (True, "create events.events.k8s.io"),
    (True, "create tokenreviews.authentication.k8s.io"),
    (False, "list pods"),
    (False, "get secrets"),
    (False, "list configmaps"),
    (False, "get configmaps"),
    (False, "patch trafficpolicies.culvert.dev"),
    (False, "update services"),
    (False, "create leases.coordination.k8s.io"),
    (False, "create pods"),
    (False, "create serviceaccounts --subresource=token"),
)


IN_ITS_NAMESPACE_CONTROLLER_MAY = (
    (True, "get leases.coordination.k8s.io/culvert-controller"),
    (True, "patch leases.coordination.k8s.io/culvert-controller"),
    (True, "create leases.coordination.k8s.io"),
    (True, "get configmaps/culvert-controller-ca"),
    (True, "patch configmaps/culvert-controller-ca"),
    (True, "create configmaps/culvert-controller-ca"),
    (False, "patch leases.coordination.k8s.io"),
    (False, "update leases.coordination.k8s.io/culvert-controller"),
    (False, "delete leases.coordination.k8s.io/culvert-controller"),
    (False, "get configmaps"),
    (False, "patch configmaps"),
    (False, "create configmaps"),
    (False, "delete configmaps/culvert-controller-ca"),
    (False, "get secrets"),
)


IN_ITS_NAMESPACE_AGENT_MAY = (
    (True, "get configmaps/culvert-controller-ca"),
    (False, "get configmaps"),
    (False, "patch configmaps/culvert-controller-ca"),
)

POLICY = {
    "apiVersion": "culvert.dev/v1alpha1",
    "kind": "TrafficPolicy",
    "metadata": {"name": "slow"},
    "spec": {
        "targetRefs": [{"kind": "Service", "name": "web"}],
        "timeouts": {"request": "7s"},
    },
}


async def may(
    plane: ControlPlane, account: str, request: str, where: str = "--all-namespaces"
) -> bool:
    """What the server says of a service account of the chart."""
    user = f"--as=system:serviceaccount:{SYSTEM}:{account}"
    done = await asyncio.to_thread(plane.kubectl, "auth", "can-i", where, user, *request.split())
    return done.stdout.strip() == "yes"


def agent_status(cluster: KubeCluster, node: str) -> AgentStatus:
    return cluster.installed(node).status()


def programmed(plane: ControlPlane, namespace: str) -> str:
    """Status and message of the policy's condition."""
    where = '{.status.conditions[?(@.type=="Programmed")]'
    output = f"--output=jsonpath={where}.status}} {where}.message}}"
    return plane.kubectl(
        "--namespace", namespace, "get", "trafficpolicy/slow", output
    ).stdout.strip()


def in_system(plane: ControlPlane, what: str, path: str) -> str:
    """One field of an object of the release."""
    output = f"--output=jsonpath={{{path}}}"
    return plane.kubectl("--namespace", SYSTEM, "get", what, output).stdout.strip()


def is_leader_published(plane: ControlPlane) -> bool:
    """Whether agents are told the address of the pod that leads."""
    pod, _, _ = in_system(plane, "lease/culvert-controller", ".spec.holderIdentity").partition("_")
    address = in_system(plane, f"pod/{pod}", ".status.podIP") if pod else "none"
    return in_system(plane, "configmap/culvert-controller-ca", ".data.address") == (
        f"{address}:15443"
    )


def are_reports_taken(cluster: KubeCluster) -> bool:
    """Whether every agent has been answered, and has had no failure since."""
    reports = [agent_status(cluster, name).reports for name in cluster.rig.nodes]
    return all(one and one.acknowledged_seconds and not one.error for one in reports)


def warnings_about(plane: ControlPlane, namespace: str, name: str) -> str:
    selector = f"--field-selector=involvedObject.name={name},type=Warning"
    output = "--output=jsonpath={.items[*].message}"
    return plane.kubectl("--namespace", namespace, "get", "events", selector, output).stdout


def check(plane: ControlPlane) -> subprocess.CompletedProcess[str]:
    """What an operator sees who asks from a machine of their own."""
    argv = [sys.executable, "-m", "culvert", "check", "--kubeconfig", str(plane.kubeconfig)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def effective_capabilities(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff"))


async def test_chart_installs_upgrades_and_uninstalls_a_mesh_that_carries_traffic(
    control_plane: ControlPlane, namespace: str
) -> None:
    with Rig() as rig:
        async with kube_cluster(rig, control_plane) as cluster:
            town = Town(cluster, namespace)
            await kubectl(
                control_plane, "label", "namespace", namespace, "culvert.dev/mesh=enabled"
            )
            async with installed(cluster) as values:
                await town.apply(http_server(replicas=2), service(), idle_pod("client"))
                await town.rolled_out("web")
                (running,) = await town.pods_are("app=client", 1)
                client = cluster.pod(namespace, "client")
                node = running["spec"]["nodeName"]
                await eventually(
                    lambda: client.cgroup_id in agent_status(cluster, node).captured_cgroup_ids,
                    "the client to be captured",
                )
                address = (await town.get("services"))[0]["spec"]["clusterIP"]
                before = agent_status(cluster, node).verdicts["connect_redirected"].count
                assert await fetch(client, f"http://{address}/") is not None
                after = agent_status(cluster, node).verdicts["connect_redirected"].count
                assert after > before

                here = f"--namespace={SYSTEM}"
                for account, rights, where in (
                    ("culvert-agent", AGENT_MAY, "--all-namespaces"),
                    ("culvert-agent", IN_ITS_NAMESPACE_AGENT_MAY, here),
                    ("culvert-controller", CONTROLLER_MAY, "--all-namespaces"),
                    ("culvert-controller", IN_ITS_NAMESPACE_CONTROLLER_MAY, here),
                ):
                    for allowed, request in rights:
                        assert await may(control_plane, account, request, where) is allowed, (
                            f"{account}: {request} {where}"
                        )

                await town.apply(POLICY)
                await eventually(
                    lambda: programmed(control_plane, namespace) == "True 2/2 nodes",
                    "agents to report the policy to the controller",
                )
                await eventually(
                    lambda: is_leader_published(control_plane), "the leader's own address"
                )
                await eventually(lambda: are_reports_taken(cluster), "no failure of any agent")
                await town.kubectl(
                    "annotate", "service", "web", "culvert.dev/load-balancing=nonsense"
                )
                await eventually(
                    lambda: "nonsense" in warnings_about(control_plane, namespace, "web"),
                    "an Event about the annotation",
                )

                agents, proxies = processes(cluster, "agent"), processes(cluster, "proxy")
                for pid in agents.values():
                    assert effective_capabilities(pid) == 1 << CAP_NET_ADMIN | 1 << CAP_BPF
                for pid in proxies.values():
                    assert effective_capabilities(pid) == 0

                assert "Phase:          Succeeded" in await helm(control_plane, "test", "culvert")
                shown = await asyncio.to_thread(check, control_plane)
                assert shown.returncode == 0, shown.stdout
                assert "ready on 2 of 2 nodes" in shown.stdout

                await helm(
                    control_plane,
                    "upgrade",
                    "culvert",
                    str(CHART),
                    *values,
                    "--set=agent.image.tag=next",
                )
                await rolled_out(control_plane, AGENT, PROXY, CONTROLLER)
                assert processes(cluster, "proxy") == proxies, (
                    "an agent's upgrade restarts no Envoy"
                )
                assert not set(processes(cluster, "agent").values()) & set(agents.values())
                assert await fetch(client, f"http://{address}/") is not None
                pins = [cluster.mesh[name].pins / "culvert" for name in rig.nodes]
                assert all(pin.exists() for pin in pins)
            assert not any(pin.exists() for pin in pins), "helm uninstall cleans every node"
            left = await kubectl(
                control_plane,
                "get",
                "clusterroles,clusterrolebindings,crds",
                "--output=name",
            )
            assert "culvert" not in left
            shown = await asyncio.to_thread(check, control_plane)
            assert shown.returncode == 1
            assert "none in namespace culvert-system" in shown.stdout
            left = await kubectl(
                control_plane,
                "--namespace",
                SYSTEM,
                "get",
                "daemonsets,deployments,services,jobs,roles,rolebindings,serviceaccounts,leases,"
                "configmaps,poddisruptionbudgets,networkpolicies",
                "--output=name",
            )
            assert "culvert" not in left
