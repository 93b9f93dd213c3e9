"""Which node a pod goes to; pure.

Of what kube-scheduler looks at: nodeSelector, required node affinity, cordoned nodes and node
names. Then the node with the fewest pods of the same controller, then with the fewest pods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from culvert.rig.kube.pod_object import PodObject, controller_of, deleting, ended, node_of, uid_of

NodeObject = Mapping[str, Any]
"""A Node, decoded from JSON."""


def assignments(
    pods: Iterable[PodObject], nodes: Iterable[NodeObject], assumed: Mapping[str, str]
) -> list[tuple[PodObject, str]]:
    """Return each pod without a node and the name of the one to bind it to.

    ``assumed`` are the nodes of pods, by uid, whose binding is under way: they are not chosen for
    again, and count where they go. Pods that fit on no node are left out, as are those with
    scheduling gates or a scheduler of their own.
    """
    there, waiting = [], []
    for pod in pods:
        if node := node_of(pod) or assumed.get(uid_of(pod), ""):
            there.append((pod, node))
        elif not deleting(pod) and _ours(pod["spec"]):
            waiting.append(pod)
    known = list(nodes)
    of_owner: Counter[tuple[str, str, str]] = Counter()
    of_any: Counter[str] = Counter()
    for pod, node in there:
        if not ended(pod) and not deleting(pod):
            of_owner[_owner_on(pod, node)] += 1
            of_any[node] += 1
    chosen = []
    for pod in sorted(waiting, key=_age):
        fitting = [_name(node) for node in known if fits(pod, node)]
        if not fitting:
            continue
        name = min(fitting, key=lambda n: (of_owner[_owner_on(pod, n)], of_any[n], n))
        of_owner[_owner_on(pod, name)] += 1
        of_any[name] += 1
        chosen.append((pod, name))
    return chosen


def fits(pod: PodObject, node: NodeObject) -> bool:
    """Whether a pod may go to a node.

    A cordoned node takes the pods of DaemonSets alone; taints and tolerations are not looked at.
    """
    spec = pod["spec"]
    if node["spec"].get("unschedulable") and not controller_of(pod).startswith("DaemonSet/"):
        return False
    labels = node["metadata"].get("labels") or {}
    if not (spec.get("nodeSelector") or {}).items() <= labels.items():
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(_term_matches(term, node) for term in required.get("nodeSelectorTerms") or [])


def _ours(spec: Mapping[str, Any]) -> bool:
    scheduler = spec.get("schedulerName") or "default-scheduler"
    return scheduler == "default-scheduler" and not spec.get("schedulingGates")


def _age(pod: PodObject) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]


def _name(node: NodeObject) -> str:
    return str(node["metadata"]["name"])


def _owner_on(pod: PodObject, node: str) -> tuple[str, str, str]:
    return pod["metadata"]["namespace"], controller_of(pod), node


def _term_matches(term: Mapping[str, Any], node: NodeObject) -> bool:
    """Whether all of a term holds; an empty term holds nowhere (NodeSelectorTerm)."""
    labels = node["metadata"].get("labels") or {}
    of_labels, of_fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    fields = {"metadata.name": _name(node)}
    return bool(of_labels or of_fields) and (
        all(_holds(want, labels) for want in of_labels)
        and all(_holds(want, fields) for want in of_fields)
    )


def _holds(want: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    """Whether a NodeSelectorRequirement holds."""
    have, wanted = values.get(want["key"]), want.get("values") or []
    match want["operator"]:
        case "In":
            return have in wanted
        case "NotIn":
            return have not in wanted
        case "Exists":
            return have is not None
        case "DoesNotExist":
            return have is None
        case "Gt":
            return have is not None and int(have) > int(wanted[0])
        case "Lt":
            return have is not None and int(have) < int(wanted[0])
        case _:
            return False
