"""Which node the stand-in of the scheduler binds a pod to."""

from __future__ import annotations

from typing import Any

from culvert.rig.kube.scheduling import assignments

_NODES = [{"metadata": {"name": name}, "spec": {}} for name in ("node-a", "node-b")]


def _pod(name: str, owner: str = "web", node: str = "") -> dict[str, Any]:
    references = [{"kind": "ReplicaSet", "name": owner, "controller": True}]
    metadata = {
        "namespace": "shop",
        "name": name,
        "uid": f"uid-{name}",
        "ownerReferences": references,
    }
    return {"metadata": metadata, "spec": {"nodeName": node}}


def _chosen(pods: list[dict[str, Any]], assumed: dict[str, str]) -> dict[str, str]:
    return {pod["metadata"]["name"]: node for pod, node in assignments(pods, _NODES, assumed)}


def test_pods_of_one_controller_are_spread() -> None:
    busy = _pod("other", owner="other", node="node-a")
    assert _chosen([busy, _pod("a"), _pod("b")], {}) == {"a": "node-b", "b": "node-a"}


def test_pod_whose_binding_is_under_way_is_not_chosen_for_again_and_counts_where_it_goes() -> None:
    busy = _pod("other", owner="other", node="node-a")
    first = _chosen([busy, _pod("b")], {})
    assert first == {"b": "node-b"}
    assumed = {f"uid-{name}": node for name, node in first.items()}
    assert _chosen([busy, _pod("a"), _pod("b")], assumed) == {"a": "node-a"}
