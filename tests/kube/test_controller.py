"""Two controllers on a real API server, and the reports of a node: what owners are told."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from culvert.control.caller import Callers
from culvert.embedded.control_plane import ControlPlane
from culvert.kube.client import KubeClient
from culvert.leader.connection import ControllerAccess
from culvert.model.refusal import RefusedError
from culvert.model.report import ObjectId, ObjectReport, ObjectState, ReportedFinding
from culvert.reports.sender import ReportSender
from culvert.reports.session import NodeState

from tests.kube.cluster import eventually, kubectl, service
from tests.kube.replica import replicas

SERVICE = "culvert-controller"
NODE = "reporting-node"
AGENT = "culvert-agent"
WRONG = "CV0401"


@dataclass(slots=True)
class Reporter:
    """What stands for an agent: the sender that agents have, and what it is to say."""

    sender: ReportSender
    state: NodeState = field(default_factory=NodeState)


async def in_namespace(plane: ControlPlane, namespace: str, *arguments: str) -> str:
    return (await kubectl(plane, "--namespace", namespace, *arguments)).strip()


async def apply(plane: ControlPlane, namespace: str, *documents: dict[str, Any]) -> None:
    text = yaml.safe_dump_all(documents)
    await kubectl(plane, "--namespace", namespace, "apply", "-f", "-", stdin=text)


async def token_of_a_pod(plane: ControlPlane, namespace: str, *, audience: str) -> str:
    """As the kubelet of the pod's node gets it for a projected volume."""
    uid = await in_namespace(
        plane, namespace, "get", "pod/agent", "--output=jsonpath={.metadata.uid}"
    )
    bound = ("--bound-object-kind=Pod", "--bound-object-name=agent", f"--bound-object-uid={uid}")
    return await in_namespace(
        plane, namespace, "create", "token", AGENT, f"--audience={audience}", *bound
    )


async def make_node_and_agent(plane: ControlPlane, namespace: str) -> None:
    """A node that is the only one, with an agent's pod on it."""
    await kubectl(plane, "delete", "nodes", "--all")
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": AGENT}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "agent"},
        "spec": {
            "nodeName": NODE,
            "serviceAccountName": AGENT,
            "containers": [{"name": "agent", "image": "agent"}],
        },
    }
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
    await apply(plane, namespace, node, account, pod)


@asynccontextmanager
async def reporter(
    api: KubeClient, plane: ControlPlane, namespace: str, directory: Path
) -> AsyncIterator[Reporter]:
    file = directory / "token"
    file.write_text(await token_of_a_pod(plane, namespace, audience=SERVICE))
    running: Reporter
    sender = ReportSender(
        api,
        ControllerAccess(namespace, SERVICE, file),
        NODE,
        state=lambda: running.state,
        address=lambda: None,
        unix_seconds=time.time,
    )
    running = Reporter(sender)
    task = asyncio.create_task(sender.run())
    try:
        yield running
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def policy(timeout: str) -> dict[str, Any]:
    return {
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "TrafficPolicy",
        "metadata": {"name": "slow"},
        "spec": {
            "targetRefs": [{"kind": "Service", "name": "web"}],
            "timeouts": {"request": timeout},
        },
    }


def condition(plane: ControlPlane, namespace: str, type_: str) -> dict[str, Any]:
    done = plane.kubectl("--namespace", namespace, "get", "trafficpolicy/slow", "--output=json")
    conditions = json.loads(done.stdout).get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == type_), {})


def events(plane: ControlPlane, namespace: str, name: str) -> list[dict[str, Any]]:
    selector = (
        f"--field-selector=involvedObject.name={name},reportingComponent=culvert.dev/controller"
    )
    done = plane.kubectl("--namespace", namespace, "get", "events", selector, "--output=json")
    return list(json.loads(done.stdout)["items"])


def node_events(plane: ControlPlane) -> dict[str, str]:
    """Uid and words of the Events on the node."""
    return {one["metadata"]["uid"]: one["message"] for one in events(plane, "default", NODE)}


def map_full(name: str, entries: int) -> ReportedFinding:
    return ReportedFinding("CV0404", f"map {name}", "", f"{entries} entries do not fit", "room")


def published_address(plane: ControlPlane, namespace: str) -> str:
    output = "--output=jsonpath={.data.address}"
    return plane.kubectl(
        "--namespace", namespace, "get", f"configmap/{SERVICE}-ca", output
    ).stdout.strip()


async def state_of(
    plane: ControlPlane, namespace: str, how: ObjectState, *findings: ReportedFinding
) -> NodeState:
    shown = await in_namespace(plane, namespace, "get", "trafficpolicy/slow", "--output=json")
    metadata = json.loads(shown)["metadata"]
    key = ObjectId("TrafficPolicy", namespace, "slow", metadata["uid"])
    report = ObjectReport(*key, metadata["generation"], how)
    return NodeState({key: report}, frozenset(findings))


@pytest.mark.usefixtures("definitions")
async def test_owners_are_told_by_one_controller_and_by_the_next_when_that_is_killed(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    plane = control_plane
    await make_node_and_agent(plane, namespace)
    await kubectl(plane, "label", "namespace", namespace, "culvert.dev/mesh=enabled")
    await apply(plane, namespace, service(), policy("3s"))
    finding = ReportedFinding(
        WRONG, f"Service {namespace}/web", "metadata.annotations", "is wrong", "mend it", "warning"
    )
    with replicas(plane.kubeconfig, namespace, tmp_path, "one", "two") as both:
        async with (
            KubeClient.from_kubeconfig(plane.kubeconfig) as api,
            reporter(api, plane, namespace, tmp_path) as node,
        ):
            await eventually(lambda: any(one.said('"leading"') for one in both), "a leader")
            leader, other = sorted(both, key=lambda one: not one.said('"leading"'))
            assert not other.said('"leading"')
            node.state = await state_of(plane, namespace, ObjectState.PENDING, finding)

            def programmed() -> dict[str, Any]:
                return condition(plane, namespace, "Programmed")

            await eventually(lambda: programmed().get("message") == "0/1 nodes", "0/1 nodes")
            assert condition(plane, namespace, "Accepted")["status"] == "True"
            assert programmed()["status"] == "False"
            node.state = await state_of(
                plane, namespace, ObjectState.PROGRAMMED, finding, map_full("cv_pods", 3)
            )
            await eventually(lambda: programmed()["status"] == "True", "Programmed")
            assert programmed()["message"] == "1/1 nodes"
            await eventually(lambda: len(events(plane, namespace, "web")) == 1, "an Event")
            (event,) = events(plane, namespace, "web")
            assert "is wrong; mend it" in event["message"]
            assert event["involvedObject"]["kind"] == "Service"
            await eventually(lambda: len(node_events(plane)) == 1, "an Event on the node")
            on_node = node_events(plane)

            leader.end(signal.SIGKILL)
            await eventually(lambda: other.said('"leading"'), "the other to lead")
            await eventually(lambda: other.said("all nodes have reported"), "the node's report")
            assert programmed()["status"] == "True", "a new leader takes nothing back"
            await apply(plane, namespace, policy("4s"))
            node.state = await state_of(
                plane,
                namespace,
                ObjectState.PROGRAMMED,
                finding,
                map_full("cv_pods", 4),
                map_full("cv_strict", 1),
            )
            await eventually(
                lambda: (programmed()["status"], programmed()["observedGeneration"]) == ("True", 2),
                "the new version to be programmed",
            )
            (again,) = events(plane, namespace, "web")
            assert again["metadata"]["uid"] == event["metadata"]["uid"]
            assert node.sender.status.error == ""
            assert published_address(plane, namespace) == other.reports_address
            assert not again.get("series"), "said once, though by two leaders"
            await eventually(lambda: len(node_events(plane)) > 1, "the next Event on the node")
            (added,) = node_events(plane).keys() - on_node.keys()
            assert "map cv_strict" in node_events(plane)[added], "another count is no other Event"
            assert on_node.items() < node_events(plane).items()

            assert other.end() == 0
            lease = await in_namespace(
                plane,
                namespace,
                "get",
                f"lease/{SERVICE}",
                "--output=jsonpath={.spec.holderIdentity}",
            )
            assert lease == "", "left to whoever comes first"
            assert "Traceback" not in other.log.read_text()


async def test_tokens_that_are_not_an_agents_are_refused_with_the_reason(
    control_plane: ControlPlane, namespace: str
) -> None:
    await make_node_and_agent(control_plane, namespace)
    async with KubeClient.from_kubeconfig(control_plane.kubeconfig) as api:
        callers = Callers(api, f"{namespace}:{AGENT}")
        good = await token_of_a_pod(control_plane, namespace, audience=SERVICE)
        assert await callers.node_of(good) == NODE

        elsewhere = await token_of_a_pod(control_plane, namespace, audience="another")
        unbound = await in_namespace(
            control_plane, namespace, "create", "token", AGENT, f"--audience={SERVICE}"
        )
        others = await in_namespace(
            control_plane, namespace, "create", "token", "default", f"--audience={SERVICE}"
        )
        for token, status, words in (
            ("nonsense", 401, "projected serviceAccountToken"),
            (elsewhere, 401, "audience culvert-controller"),
            (unbound, 403, "bound to no pod"),
            (others, 403, "may not report"),
        ):
            with pytest.raises(RefusedError, match=words) as refused:
                await callers.node_of(token)
            assert refused.value.status == status
