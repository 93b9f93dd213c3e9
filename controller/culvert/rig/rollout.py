"""Which pods to start and to stop; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from culvert.rig.podspec import PodTemplate
from culvert.rig.wanted import NodeWant, Wanted

PodKey = tuple[str, str]
"""Namespace and name of a pod."""

_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""As Kubernetes: no vowels, so no words; nothing that looks like another."""


@dataclass(frozen=True, slots=True)
class PodWant:
    """A pod that shall run; ``owner`` names its Deployment, empty for a bare Pod."""

    namespace: str
    name: str
    owner: str
    template: PodTemplate
    uid: str = ""
    """As the API server gave it; without one, the kubelet makes one up."""

    @property
    def key(self) -> PodKey:
        """Namespace and name."""
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class PodHave:
    """A pod there is."""

    namespace: str
    name: str
    owner: str
    revision: str
    node_name: str
    ready: bool
    terminating: bool

    @property
    def key(self) -> PodKey:
        """Namespace and name."""
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now; applying it changes what there is, and then there is another plan."""

    start: tuple[PodWant, ...]
    stop: tuple[PodKey, ...]


def pod_name(deployment: str, revision: str, index: int, incarnation: int) -> str:
    """Name replica ``index`` of a Deployment; every incarnation of it has another name."""
    digest = int.from_bytes(
        sha256(f"{deployment}/{revision}/{index}/{incarnation}".encode()).digest()[:8], "big"
    )
    suffix = ""
    for _ in range(5):
        digest, letter = divmod(digest, len(_SUFFIX_ALPHABET))
        suffix += _SUFFIX_ALPHABET[letter]
    return f"{deployment}-{revision}-{suffix}"


def wanted_pods(wanted: Wanted, deleted: frozenset[PodKey] = frozenset()) -> dict[PodKey, PodWant]:
    """Expand the Deployments and add the bare Pods.

    A name in ``deleted`` is not used again for a Deployment: its replica comes back under the next
    one.
    """
    pods = [PodWant(p.namespace, p.name, "", p.template) for p in wanted.pods]
    for deployment in wanted.deployments:
        for index in range(deployment.replicas):
            incarnation = 0
            while True:
                name = pod_name(deployment.name, deployment.template.revision, index, incarnation)
                if (deployment.namespace, name) not in deleted:
                    break
                incarnation += 1
            pods.append(PodWant(deployment.namespace, name, deployment.name, deployment.template))
    return {pod.key: pod for pod in pods}


def plan(wanted: Wanted, want: Mapping[PodKey, PodWant], have: Iterable[PodHave]) -> Plan:
    """Return what to start and stop.

    A Deployment whose template changed keeps as many former pods as it lacks ready ones; those
    that are not ready go first. With the strategy Recreate, and for a bare Pod, the former go
    before the new come.
    """
    there = {pod.key: pod for pod in have}
    deployments = {(d.namespace, d.name): d for d in wanted.deployments}
    stop: list[PodKey] = []
    former: dict[tuple[str, str], list[PodHave]] = {}
    for pod in there.values():
        pod_want = want.get(pod.key)
        if pod.terminating:
            continue
        if pod_want is not None and pod_want.template.revision == pod.revision:
            continue
        deployment = deployments.get((pod.namespace, pod.owner))
        replaced = deployment is not None and pod.revision != deployment.template.revision
        if deployment is not None and replaced and not deployment.recreate:
            former.setdefault((pod.namespace, pod.owner), []).append(pod)
        else:
            stop.append(pod.key)
    for owner, pods in former.items():
        deployment = deployments[owner]
        ready = sum(there[k].ready for k, w in want.items()
                    if (w.namespace, w.owner) == owner and k in there)  # fmt: skip
        keep = max(0, deployment.replicas - ready)
        pods.sort(key=lambda pod: (not pod.ready, pod.name))
        stop.extend(pod.key for pod in pods[keep:])
    blocked = {
        (pod.namespace, pod.owner)
        for pod in there.values()
        if (deployment := deployments.get((pod.namespace, pod.owner))) is not None
        and deployment.recreate
        and pod.revision != deployment.template.revision
    }
    start = tuple(
        pod
        for key, pod in want.items()
        if key not in there and (pod.namespace, pod.owner) not in blocked
    )
    return Plan(start, tuple(sorted(stop)))


def choose_node(
    pod: PodWant, nodes: Iterable[NodeWant], have: Iterable[PodHave]
) -> NodeWant | None:
    """Choose a node: the one named, else one that fits and has the fewest pods of that owner.

    Then the fewest pods at all, then the first in order.
    """
    of_owner: Counter[str] = Counter()
    of_any: Counter[str] = Counter()
    for other in have:
        of_any[other.node_name] += 1
        if (other.namespace, other.owner) == (pod.namespace, pod.owner) and not other.terminating:
            of_owner[other.node_name] += 1
    fitting = [
        node
        for node in nodes
        if pod.template.node_name in ("", node.name)
        and pod.template.node_selector.items() <= node.labels.items()
    ]
    return min(fitting, key=lambda node: (of_owner[node.name], of_any[node.name]), default=None)
