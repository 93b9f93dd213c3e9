"""Manifests become running pods and observed objects, live."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from culvert.rig import Pod, Rig, leftovers
from culvert.rig.cluster import Cluster
from culvert.rig.container import Backoff
from culvert.rig.kubelet import KubeletSettings
from culvert.sources.manifests import ManifestSource

pytestmark = pytest.mark.kernel

SETTINGS = KubeletSettings(
    backoff=Backoff(first_seconds=0.05),
    terminating_notice_seconds=0.0,
    first_probe_seconds=0.05,
)


def deployment(name: str, replicas: int, *, env: str = "", **container: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [
                        {
                            "name": "main",
                            "command": ["python", "-m", "culvert.rig.workloads.http_echo"],
                            "args": ["--port", "8080"],
                            "ports": [{"name": "web", "containerPort": 8080}],
                            "env": [{"name": "MARK", "value": env}],
                            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "web"}},
                            **container,
                        }
                    ]
                },
            },
        },
    }


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": "web"}],
            "ipFamilyPolicy": "PreferDualStack",
            **spec,
        },
    }


def pod(name: str, *command: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "command": list(command)}], **spec},
    }


class World:
    """A cluster under test, and the two folders around it."""

    def __init__(self, cluster: Cluster, rig: Rig, manifests: Path, observed: Path) -> None:
        self.cluster = cluster
        self.rig = rig
        self.manifests = manifests
        self.observed = observed

    def write(self, *documents: dict[str, Any], file: str = "all.yaml") -> None:
        (self.manifests / file).write_text(yaml.safe_dump_all(documents))

    async def settle(self, *documents: dict[str, Any]) -> None:
        if documents:
            self.write(*documents)
        async with asyncio.timeout(60):
            await self.cluster.wait_settled()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the folder of observed objects to say so."""
        async with asyncio.timeout(60):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.02)

    def objects(self, kind: str) -> list[dict[str, Any]]:
        found = []
        for file in sorted(self.observed.glob(f"{kind.lower()}.*.json")):
            with suppress(FileNotFoundError):
                found.append(json.loads(file.read_text()))
        return found

    def running(self, name: str) -> Pod:
        """Return the pod of the rig whose name starts so."""
        for node in self.rig.nodes.values():
            for candidate in node.pods.values():
                if candidate.name.startswith(name):
                    return candidate
        raise AssertionError(f"no pod {name}")

    def endpoints(self, family: str = "IPv4") -> dict[str, dict[str, bool]]:
        return {
            endpoint["targetRef"]["name"]: endpoint["conditions"]
            for piece in self.objects("EndpointSlice")
            if piece["addressType"] == family
            for endpoint in piece["endpoints"]
            if "targetRef" in endpoint
        }


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as made:
        yield made
    assert leftovers(made.rig_id) == []


@pytest.fixture
async def world(rig: Rig, tmp_path: Path) -> AsyncIterator[World]:
    manifests, observed = tmp_path / "manifests", tmp_path / "observed"
    manifests.mkdir()
    cluster = Cluster(rig, manifests, observed, settings=SETTINGS, kube_proxy=True)
    running = asyncio.create_task(cluster.run())
    yield World(cluster, rig, manifests, observed)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def fetch(client: Pod, host: str, port: int) -> dict[str, Any]:
    """Get / as a process of the pod would, and return the JSON answer."""

    def exchange() -> bytes:
        with client.connect((host, port)) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            return connection.makefile("rb").read()

    return dict(json.loads((await asyncio.to_thread(exchange)).partition(b"\r\n\r\n")[2]))


async def test_manifests_become_ready_pods_with_endpoints(world: World) -> None:
    await world.settle(deployment("web", 3), service("web"), pod("client", "sleep", "1000"))
    await world.until(lambda: len(world.endpoints()) == 3)
    assert len(world.endpoints("IPv6")) == 3
    assert all(c["ready"] for c in world.endpoints().values())
    pods = {p["metadata"]["name"]: p for p in world.objects("Pod")}
    assert {p["status"]["phase"] for p in pods.values()} == {"Running"}
    assert {p["spec"]["nodeName"] for p in pods.values()} == {"node-a", "node-b"}
    assert pods["client"]["status"]["podIPs"][0]["ip"] == world.running("client").ipv4
    assert {n["metadata"]["name"] for n in world.objects("Node")} == {"node-a", "node-b"}
    assert [n["metadata"]["name"] for n in world.objects("Namespace")] == ["default"]
    assert world.cluster.findings == ()


async def test_observed_objects_are_a_world_without_findings(world: World) -> None:
    given = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "ext", "labels": {"kubernetes.io/service-name": "outside"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.99.0.254"]}],
        "ports": [{"port": 80}],
    }
    outside = service("outside", selector=None)
    await world.settle(
        deployment("web", 2), service("web"), service("none", clusterIP="None"), outside, given
    )
    await world.until(lambda: len(world.endpoints()) >= 2)
    seen = ManifestSource([world.observed]).read()
    assert seen.findings == ()
    assert {key.name for key in seen.workloads} == {p.name for p in world.cluster.pods}
    assert {key.name for key in seen.services} == {"web", "none", "outside"}
    assert "ext" in {key.name for key in seen.endpoint_slices}


async def test_cluster_ip_without_the_mesh_reaches_every_pod(world: World) -> None:
    await world.settle(deployment("web", 2), service("web"), pod("client", "sleep", "1000"))
    client = world.running("client")
    (described,) = world.objects("Service")
    for address in described["spec"]["clusterIPs"]:
        seen = {(await fetch(client, address, 80))["pod"] for _ in range(30)}
        assert len(seen) == 2
    itself = world.running("web")
    seen = {(await fetch(itself, described["spec"]["clusterIP"], 80))["pod"] for _ in range(30)}
    assert len(seen) == 2


async def test_cluster_ip_without_endpoints_is_refused(world: World) -> None:
    await world.settle(service("web"), pod("client", "sleep", "1000"))
    (address, _) = world.cluster.cluster_ips["default", "web"]
    with pytest.raises(ConnectionRefusedError):
        await fetch(world.running("client"), address, 80)


async def test_scaling_adds_and_removes_pods_and_leaves_the_others_alone(world: World) -> None:
    await world.settle(deployment("web", 1), service("web"))
    (first,) = {p.uid for p in world.cluster.pods}
    await world.settle(deployment("web", 4), service("web"))
    assert len(world.cluster.pods) == 4
    assert first in {p.uid for p in world.cluster.pods}
    await world.settle(deployment("web", 1), service("web"))
    assert {p.uid for p in world.cluster.pods} == {first}
    await world.until(lambda: len(world.endpoints()) == 1)
    assert sum(len(node.pods) for node in world.rig.nodes.values()) == 1


async def test_changed_template_is_rolled_out_with_ready_endpoints_throughout(
    world: World,
) -> None:
    await world.settle(deployment("web", 2), service("web"))
    before = {p.uid for p in world.cluster.pods}
    world.write(deployment("web", 2, env="changed"), service("web"))
    fewest = 2

    def replaced() -> bool:
        nonlocal fewest
        fewest = min(fewest, sum(c["ready"] for c in world.endpoints().values()))
        uids = {p.uid for p in world.cluster.pods}
        return len(uids) == 2 and not uids & before

    await world.until(replaced)
    assert fewest == 2


async def test_terminating_pod_is_announced_before_it_gets_sigterm(
    rig: Rig, tmp_path: Path
) -> None:
    manifests, observed = tmp_path / "manifests", tmp_path / "observed"
    manifests.mkdir()
    told = tmp_path / "told"
    script = f"trap 'cat {observed}/endpointslice* > {told}; exit' TERM; sleep 1000 & wait"
    document = pod("web", "sh", "-c", script)
    document["metadata"]["labels"] = {"app": "web"}
    document["spec"]["containers"][0]["ports"] = [{"name": "web", "containerPort": 80}]
    (manifests / "a.yaml").write_text(yaml.safe_dump_all([document, service("web")]))
    cluster = Cluster(rig, manifests, observed, settings=KubeletSettings())
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(cluster.run())
        await cluster.wait_settled()
        (manifests / "a.yaml").write_text(yaml.safe_dump(service("web")))
        await cluster.wait_settled()
        running.cancel()
    first_slice = json.JSONDecoder().raw_decode(told.read_text())[0]
    assert first_slice["endpoints"][0]["conditions"] == {
        "ready": False,
        "serving": True,
        "terminating": True,
    }


async def test_pod_that_ignores_sigterm_is_killed_after_its_grace(world: World) -> None:
    stubborn = pod("stubborn", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    stubborn["spec"]["terminationGracePeriodSeconds"] = 1
    await world.settle(stubborn)
    (world.manifests / "all.yaml").unlink()
    await world.settle()
    assert world.cluster.pods == []
    assert sum(len(node.pods) for node in world.rig.nodes.values()) == 0


async def test_crashing_container_is_restarted_and_counted(world: World) -> None:
    world.write(pod("crash", "sh", "-c", "exit 3"))
    await world.until(
        lambda: any(
            p["status"]["containerStatuses"][0]["restartCount"] >= 2
            for p in world.objects("Pod")
            if p["status"]["containerStatuses"]
        )
    )


async def test_pod_that_ends_well_and_is_not_restarted_has_succeeded(world: World) -> None:
    await world.settle(pod("once", "true", restartPolicy="Never"))
    await world.until(lambda: world.objects("Pod")[0]["status"]["phase"] == "Succeeded")


async def test_missing_command_is_named_in_the_log_and_the_others_run(world: World) -> None:
    world.write(pod("wrong", "/no/such/program"), pod("good", "sleep", "1000"))
    await world.until(
        lambda: {p["metadata"]["name"] for p in world.objects("Pod") if _ready(p)} == {"good"}
    )
    log = world.cluster.log_directory / "default_wrong" / "main.log"
    await world.until(lambda: "/no/such/program" in log.read_text())


async def test_pod_is_ready_only_while_its_probe_passes(world: World) -> None:
    probed = pod("probed", "sh", "-c", "rm -f ok; sleep 1000")
    flag = world.manifests.parent / "ok"
    probed["spec"]["containers"][0]["readinessProbe"] = {
        "exec": {"command": ["test", "-e", str(flag)]},
        "periodSeconds": 1,
        "failureThreshold": 1,
    }
    world.write(probed)
    await world.until(lambda: bool(world.objects("Pod")))
    assert not _ready(world.objects("Pod")[0])
    flag.touch()
    await world.settle()
    flag.unlink()
    await world.until(lambda: not _ready(world.objects("Pod")[0]))


async def test_failing_liveness_probe_restarts_the_container(world: World) -> None:
    dead = pod("dead", "sleep", "1000")
    dead["spec"]["containers"][0]["livenessProbe"] = {
        "tcpSocket": {"port": 1},
        "periodSeconds": 1,
        "failureThreshold": 1,
    }
    world.write(dead)
    await world.until(
        lambda: any(p.containers and p.containers[0].restarts for p in world.cluster.pods)
    )


async def test_containers_find_services_and_themselves_in_their_environment(
    world: World,
) -> None:
    document = pod("asking", "sh", "-c", "env; echo host $(WEB_SERVICE_HOST); sleep 1000")
    document["spec"]["containers"][0]["env"] = [
        {"name": "MY_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "MY_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]
    await world.settle(service("web"))
    await world.settle(service("web"), document)
    log = world.cluster.log_directory / "default_asking" / "main.log"
    await world.until(lambda: "host " in log.read_text())
    said = log.read_text().splitlines()
    address = world.cluster.cluster_ips["default", "web"][0]
    asking = world.running("asking")
    assert f"WEB_SERVICE_HOST={address}" in said
    assert "WEB_SERVICE_PORT_HTTP=80" in said
    assert f"host {address}" in said
    assert f"MY_IP={asking.ipv4}" in said
    assert f"MY_NODE={asking.node_name}" in said


async def test_deleted_replica_is_replaced_under_another_name(world: World) -> None:
    await world.settle(deployment("web", 1), service("web"))
    (first,) = world.cluster.pods
    world.cluster.delete_pod(first.namespace, first.name)
    await world.settle()
    (second,) = world.cluster.pods
    assert second.name != first.name
    assert second.uid != first.uid


async def test_edited_bare_pod_is_stopped_and_made_again(world: World) -> None:
    await world.settle(pod("one", "sleep", "1000"))
    (first,) = world.cluster.pods
    await world.settle(pod("one", "sleep", "2000"))
    (second,) = world.cluster.pods
    assert (second.name, second.uid == first.uid) == ("one", False)


async def test_broken_file_is_reported_and_its_last_good_version_stays(world: World) -> None:
    await world.settle(pod("one", "sleep", "1000"))
    (first,) = world.cluster.pods
    (world.manifests / "all.yaml").write_text("kind: [")
    await world.until(lambda: bool(world.cluster.findings))
    (finding,) = world.cluster.findings
    assert finding.subject.endswith("all.yaml")
    await world.settle(pod("one", "sleep", "1000"))
    assert world.cluster.findings == ()
    assert [p.uid for p in world.cluster.pods] == [first.uid]


async def test_pod_that_fits_no_node_is_reported_and_the_others_run(world: World) -> None:
    world.write(pod("lost", "true", nodeName="nowhere"), pod("good", "sleep", "1000"))
    await world.until(lambda: bool(world.cluster.findings))
    await world.until(lambda: {p.name for p in world.cluster.pods if p.ready} == {"good"})
    (finding,) = world.cluster.findings
    assert (finding.subject, finding.field) == ("Pod default/lost", "spec.nodeName")


async def test_observed_objects_of_removed_manifests_disappear(world: World) -> None:
    await world.settle(deployment("web", 1), service("web"))
    (world.manifests / "all.yaml").unlink()
    await world.settle()
    await world.until(
        lambda: not world.objects("Pod") + world.objects("Service") + world.objects("EndpointSlice")
    )


def _ready(document: dict[str, Any]) -> bool:
    conditions = {c["type"]: c["status"] for c in document["status"]["conditions"]}
    return bool(conditions["Ready"] == "True")
