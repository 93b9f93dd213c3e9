"""From what is installed to what is wrong with it; pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from culvert.installation.parts import ContainerStatus, Installation, Pod, Workloads

KINDS = frozenset(
    {"authorizationpolicies", "meshconfigs", "peerauthentications", "trafficpolicies"}
)
_SHOWN = 5


class Verdict(msgspec.Struct, frozen=True):
    """One check. ``remedy`` is empty where it passed."""

    name: str
    passed: bool
    detail: str
    remedy: str = ""


def judge(seen: Installation) -> list[Verdict]:
    """Return every check, in the order in which a failure explains later ones."""
    return list(_verdicts(seen))


def _verdicts(seen: Installation) -> Iterator[Verdict]:
    missing = sorted(KINDS - seen.kinds)
    yield Verdict(
        "definitions",
        not missing,
        f"missing: {', '.join(missing)}" if missing else f"{len(KINDS)} kinds of culvert.dev",
        "install the chart culvert-crds" if missing else "",
    )
    for name, found, on_nodes in (
        ("agents", seen.agent, True),
        ("proxies", seen.proxy, True),
        ("controller", seen.controller, False),
    ):
        yield _part(name, found, seen, on_nodes=on_nodes)
    if seen.controller is not None:
        yield _leadership(seen)


def _part(name: str, found: Workloads | None, seen: Installation, *, on_nodes: bool) -> Verdict:
    if found is None:
        if name == "controller":
            # It can be left out: traffic does not depend on it.
            return Verdict(name, True, "not installed: nobody writes statuses and Events")
        return Verdict(
            name,
            False,
            f"none in namespace {seen.namespace}",
            "install the chart culvert, or name the namespace that it is in",
        )
    counts = found.status
    wanted = counts.desired_number_scheduled if on_nodes else found.spec.replicas
    ready = counts.number_ready if on_nodes else counts.ready_replicas
    updated = counts.updated_number_scheduled if on_nodes else counts.updated_replicas
    what = "nodes" if on_nodes else "replicas"
    if counts.observed_generation < found.metadata.generation:
        return Verdict(name, False, "a change is not taken up yet", "wait for the roll-out")
    if not wanted:
        return Verdict(
            name, False, f"wanted on no {what}", "look at nodeSelector, affinity and replicas"
        )
    if ready < wanted:
        component = found.metadata.labels.get("app.kubernetes.io/component", "")
        troubles = _troubles(seen.pods, component)
        return Verdict(
            name,
            False,
            f"ready on {ready} of {wanted} {what}" + (f": {troubles}" if troubles else ""),
            f"kubectl --namespace {seen.namespace} describe pods "
            f"--selector app.kubernetes.io/component={component}",
        )
    if updated < wanted:
        return Verdict(
            name, True, f"ready on {ready} of {wanted} {what}, {updated} of them up to date"
        )
    return Verdict(name, True, f"ready on {ready} of {wanted} {what}")


def _leadership(seen: Installation) -> Verdict:
    remedy = f"kubectl --namespace {seen.namespace} logs deployment/<controller>"
    if seen.leadership is None or not seen.leadership.holder:
        return Verdict("leader", False, "no controller leads", remedy)
    holder = seen.leadership.holder.partition("_")[0]
    if not seen.leadership.renewed:
        return Verdict("leader", False, f"{holder} has stopped renewing its lease", remedy)
    return Verdict("leader", True, holder)


def _troubles(pods: tuple[Pod, ...], component: str) -> str:
    """Where pods of a part are not ready, and why as far as it is told."""
    told = [
        f"{pod.spec.node_name or 'no node'} ({_reason(pod)})"
        for pod in pods
        if pod.metadata.labels.get("app.kubernetes.io/component") == component
        and not _is_ready(pod)
    ]
    more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return ", ".join(sorted(told)[:_SHOWN]) + more


def _is_ready(pod: Pod) -> bool:
    return any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions)


def _reason(pod: Pod) -> str:
    for container in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        if told := _why(container):
            return f"{container.name}: {told}"
    for condition in pod.status.conditions:
        if condition.status != "True" and condition.message:
            return condition.message
    return pod.status.phase or "not ready"


def _why(container: ContainerStatus) -> str:
    state = container.state.waiting or (None if container.ready else container.state.terminated)
    if state is None or state.reason in ("PodInitializing", "Completed"):
        return ""
    return state.reason + (f": {state.message}" if state.message else "")
