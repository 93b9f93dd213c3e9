"""Which pods are started and stopped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from culvert.rig.rollout import PodHave, PodKey, choose_node, plan, wanted_pods
from culvert.rig.wanted import NodeWant, SourcedDocument, Wanted, decode
from hypothesis import given
from hypothesis import strategies as st


def deployment(
    replicas: int, *, command: str = "one", strategy: str = "RollingUpdate", **spec: Any
) -> Wanted:
    return decode(
        [
            SourcedDocument(
                "a.yaml#1",
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "metadata": {"name": "web"},
                    "spec": {
                        "replicas": replicas,
                        "strategy": {"type": strategy},
                        "template": {
                            "spec": {"containers": [{"name": "c", "command": [command]}], **spec}
                        },
                    },
                },
            )
        ]
    )


def running(wanted: Wanted, *, ready: bool = True, terminating: bool = False) -> list[PodHave]:
    """Return the pods of a state of the manifests in which all wishes came true."""
    return [
        PodHave(w.namespace, w.name, w.owner, w.template.revision, "node-a", ready, terminating)
        for w in wanted_pods(wanted).values()
    ]


def step(wanted: Wanted, have: list[PodHave]) -> tuple[set[PodKey], set[PodKey]]:
    decided = plan(wanted, wanted_pods(wanted), have)
    return {pod.key for pod in decided.start}, set(decided.stop)


def test_nothing_running_starts_every_replica() -> None:
    wanted = deployment(3)
    assert step(wanted, []) == (set(wanted_pods(wanted)), set())


def test_nothing_changed_plans_nothing() -> None:
    wanted = deployment(3)
    assert step(wanted, running(wanted)) == (set(), set())


def test_scaling_down_keeps_the_first_replicas() -> None:
    more, fewer = deployment(3), deployment(1)
    start, stop = step(fewer, running(more))
    assert start == set()
    assert stop == wanted_pods(more).keys() - wanted_pods(fewer).keys()
    assert len(stop) == 2


def test_removed_deployment_stops_all_its_pods() -> None:
    wanted = deployment(2)
    assert step(Wanted(), running(wanted)) == (set(), set(wanted_pods(wanted)))


def test_terminating_pod_is_not_stopped_again_and_its_name_not_reused() -> None:
    wanted = deployment(1)
    assert step(wanted, running(wanted, terminating=True)) == (set(), set())


def test_former_pods_stay_until_new_ones_are_ready() -> None:
    former, new = deployment(2), deployment(2, command="two")
    start, stop = step(new, running(former))
    assert (start, stop) == (set(wanted_pods(new)), set())
    assert step(new, running(former) + running(new, ready=False)) == (set(), set())
    half = [running(new)[0], *running(new, ready=False)[1:]]
    assert len(step(new, running(former) + half)[1]) == 1
    assert step(new, running(former) + running(new)) == (set(), set(wanted_pods(former)))


def test_former_pods_that_are_not_ready_go_first() -> None:
    former, new = deployment(2), deployment(2, command="two")
    first, second = running(former)
    ill = replace(first, ready=False)
    _, stop = step(new, [ill, second, running(new)[0]])
    assert stop == {ill.key}


def test_recreate_stops_the_former_before_it_starts_the_new() -> None:
    former, new = deployment(2), deployment(2, command="two", strategy="Recreate")
    assert step(new, running(former)) == (set(), set(wanted_pods(former)))
    assert step(new, running(former, terminating=True)) == (set(), set())
    assert step(new, []) == (set(wanted_pods(new)), set())


def test_deleted_replica_comes_back_under_another_name() -> None:
    wanted = deployment(2)
    first, *_ = wanted_pods(wanted)
    again = wanted_pods(wanted, frozenset({first}))
    assert len(again) == 2
    assert first not in again


def test_names_do_not_depend_on_the_number_of_replicas() -> None:
    assert wanted_pods(deployment(2)).keys() <= wanted_pods(deployment(5)).keys()


@given(st.integers(0, 5), st.integers(0, 5), st.randoms(use_true_random=False))
def test_applying_plans_converges(before: int, after: int, choices: Any) -> None:
    former, new = deployment(before), deployment(after, command="two")
    have = running(former)
    for _ in range(50):
        want = wanted_pods(new)
        decided = plan(new, want, have)
        if not decided.start and not decided.stop and all(pod.ready for pod in have):
            break
        have = [pod for pod in have if pod.key not in decided.stop]
        have = [replace(pod, ready=pod.ready or choices.random() < 0.5) for pod in have]
        have += [
            PodHave(w.namespace, w.name, w.owner, w.template.revision, "n", False, False)
            for w in decided.start
        ]
    assert {pod.key for pod in have} == wanted_pods(new).keys()


def test_pods_of_one_owner_spread_over_the_nodes() -> None:
    wanted = deployment(4)
    nodes = [NodeWant("node-a", {}), NodeWant("node-b", {})]
    have: list[PodHave] = []
    for want in wanted_pods(wanted).values():
        node = choose_node(want, nodes, have)
        assert node is not None
        have.append(PodHave(want.namespace, want.name, want.owner, "", node.name, False, False))
    assert sorted(pod.node_name for pod in have) == ["node-a", "node-a", "node-b", "node-b"]


def test_node_name_and_selector_are_obeyed() -> None:
    nodes = [NodeWant("node-a", {"disk": "slow"}), NodeWant("node-b", {"disk": "fast"})]
    (named,) = wanted_pods(deployment(1, nodeName="node-b")).values()
    (selecting,) = wanted_pods(deployment(1, nodeSelector={"disk": "fast"})).values()
    (homeless,) = wanted_pods(deployment(1, nodeSelector={"disk": "none"})).values()
    assert choose_node(named, nodes, []) == nodes[1]
    assert choose_node(selecting, nodes, []) == nodes[1]
    assert choose_node(homeless, nodes, []) is None
