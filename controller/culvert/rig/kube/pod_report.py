"""What a kubelet says of a pod: its status (PodStatus in the Kubernetes API); pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from culvert.rig.kube.pod_object import PodObject
from culvert.rig.pod_status import ContainerPhase, ContainerStatus, PodStatus

Condition = Mapping[str, Any]

_OWN = ("PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")


def pod_report(
    status: PodStatus, pod: PodObject, *, said: Sequence[Condition], now: str
) -> dict[str, Any]:
    """Return the ``status`` of a pod that runs or is being made.

    ``said`` are the conditions as last reported: those that did not change keep their times.
    Conditions of others, as for readiness gates, are kept.
    """
    report: dict[str, Any] = {
        "phase": status.phase,
        "hostIP": status.host_ips[0],
        "hostIPs": [{"ip": address} for address in status.host_ips],
        "startTime": status.created,
        "conditions": _conditions(status, pod, said, now),
    }
    if status.ips:
        report["podIP"] = status.ips[0]
        report["podIPs"] = [{"ip": address} for address in status.ips]
    images = {
        container["name"]: container.get("image") or ""
        for name in ("containers", "initContainers")
        for container in pod["spec"].get(name) or []
    }
    if status.containers:
        report["containerStatuses"] = [
            _container(c, status.uid, images, ready=c.ready) for c in status.containers
        ]
    if status.init_containers:
        report["initContainerStatuses"] = [
            _container(c, status.uid, images, ready=c.ready or _succeeded(c))
            for c in status.init_containers
        ]
    if status.problem:
        report["message"] = status.problem
    return report


def refusal(pod: PodObject, *, reason: str, message: str, host_ips: Sequence[str]) -> Any:
    """Return the status of a pod that cannot run here."""
    waiting = {"waiting": {"reason": reason, "message": message}}
    return {
        "phase": "Pending",
        "hostIP": host_ips[0],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container.get("image") or "",
                "imageID": "",
                "ready": False,
                "started": False,
                "restartCount": 0,
                "state": waiting,
            }
            for container in pod["spec"]["containers"]
        ],
    }


def initialized(status: PodStatus) -> bool:
    """Whether all init containers have ended well, or, as sidecars, have started."""
    return bool(status.ips) and all(_succeeded(c) or c.started for c in status.init_containers)


def _succeeded(status: ContainerStatus) -> bool:
    return status.phase is ContainerPhase.TERMINATED and status.exit_code == 0


def _conditions(
    status: PodStatus, pod: PodObject, said: Sequence[Condition], now: str
) -> list[Condition]:
    others = [
        condition
        for condition in (pod.get("status") or {}).get("conditions") or []
        if condition["type"] not in _OWN
    ]
    passed = {c["type"] for c in others if c["status"] == "True"}
    gates = {gate["conditionType"] for gate in pod["spec"].get("readinessGates") or []}
    ended = status.phase == "Succeeded"
    ready = status.ready and not ended
    truths = {
        "PodScheduled": (True, ""),
        "PodReadyToStartContainers": (bool(status.ips), ""),
        "Initialized": (initialized(status), "ContainersNotInitialized"),
        "ContainersReady": (ready, "PodCompleted" if ended else "ContainersNotReady"),
        "Ready": (
            ready and gates <= passed,
            "PodCompleted"
            if ended
            else "ReadinessGatesNotReady"
            if ready
            else "ContainersNotReady",
        ),
    }
    before = {condition["type"]: condition for condition in said}
    own = [_condition(kind, *truth, before.get(kind), now) for kind, truth in truths.items()]
    return own + others


def _condition(
    kind: str, holds: bool, reason: str, before: Condition | None, now: str
) -> Condition:
    condition = {"type": kind, "status": str(holds)}
    if not holds and reason:
        condition["reason"] = reason
    changed = before is None or before["status"] != condition["status"]
    time = now if before is None or changed else before.get("lastTransitionTime", now)
    return {**condition, "lastTransitionTime": time}


def _container(
    status: ContainerStatus, pod_uid: str, images: Mapping[str, str], *, ready: bool
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "name": status.name,
        "image": images.get(status.name, ""),
        "imageID": "",
        "ready": ready,
        "started": status.started,
        "restartCount": status.restarts,
        "state": _state(status),
    }
    if status.started_at:
        report["containerID"] = f"culvert-rig://{pod_uid}/{status.name}/{status.restarts}"
    if status.restarts and status.finished_at:
        report["lastState"] = {"terminated": _terminated(status)}
    return report


def _state(status: ContainerStatus) -> dict[str, Any]:
    match status.phase:
        case ContainerPhase.RUNNING:
            return {"running": {"startedAt": status.started_at}}
        case ContainerPhase.TERMINATED if status.started_at:
            return {"terminated": _terminated(status)}
        case _:
            return {"waiting": _without_empty(reason=status.reason, message=status.message)}


def _terminated(status: ContainerStatus) -> dict[str, Any]:
    # A negative status is a signal, which a container runtime shows as a shell does.
    code = 128 - status.exit_code if status.exit_code < 0 else status.exit_code
    return {
        "exitCode": code,
        "reason": "Error" if code else "Completed",
        **_without_empty(startedAt=status.started_at, finishedAt=status.finished_at),
    }


def _without_empty(**fields: str) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}
