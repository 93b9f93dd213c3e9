"""What is said of an installation, by what the API shows of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from culvert.installation.judge import KINDS, Verdict, judge
from culvert.installation.parts import (
    Condition,
    ContainerState,
    ContainerStatus,
    Counts,
    Installation,
    Leadership,
    Metadata,
    Pod,
    PodSpec,
    PodStatus,
    Size,
    Waiting,
    Workloads,
)


def part(component: str) -> Metadata:
    return Metadata(
        name=f"culvert-{component}", labels={"app.kubernetes.io/component": component}, generation=2
    )


def daemons(component: str, *, ready: int = 3, updated: int = 3) -> Workloads:
    return Workloads(
        part(component),
        Counts(
            observed_generation=2,
            desired_number_scheduled=3,
            number_ready=ready,
            updated_number_scheduled=updated,
        ),
    )


WELL = Installation(
    namespace="culvert-system",
    kinds=KINDS | {"trafficpolicies/status"},
    agent=daemons("agent"),
    proxy=daemons("proxy"),
    controller=Workloads(
        part("controller"),
        Counts(observed_generation=2, ready_replicas=2, updated_replicas=2),
        Size(replicas=2),
    ),
    leadership=Leadership("culvert-controller-1_ab12", renewed=True),
)


def of(name: str, seen: Installation) -> Verdict:
    (found,) = [one for one in judge(seen) if one.name == name]
    return found


def test_every_check_passes_where_every_part_runs() -> None:
    verdicts = judge(WELL)
    assert [one.name for one in verdicts] == [
        "definitions",
        "agents",
        "proxies",
        "controller",
        "leader",
    ]
    assert all(one.passed and not one.remedy for one in verdicts)


def test_missing_kinds_are_named() -> None:
    verdict = of("definitions", replace(WELL, kinds=KINDS - {"meshconfigs"}))
    assert not verdict.passed
    assert verdict.detail == "missing: meshconfigs"


@pytest.mark.parametrize("seen", [replace(WELL, agent=None), replace(WELL, proxy=None)])
def test_part_that_is_not_there_is_a_failure(seen: Installation) -> None:
    assert [one.passed for one in judge(seen)].count(False) == 1


def test_mesh_without_a_controller_is_whole() -> None:
    verdicts = judge(replace(WELL, controller=None, leadership=None))
    assert all(one.passed for one in verdicts)
    assert (
        "nobody writes statuses"
        in of("controller", replace(WELL, controller=None, leadership=None)).detail
    )


def test_node_whose_agent_is_not_ready_is_named_with_the_reason() -> None:
    broken = Pod(
        Metadata(labels={"app.kubernetes.io/component": "agent"}),
        PodSpec(node_name="node-7"),
        PodStatus(
            phase="Pending",
            conditions=[Condition("Ready", "False", "containers with unready status: [agent]")],
            init_container_statuses=[
                ContainerStatus(
                    "load",
                    state=ContainerState(waiting=Waiting("CrashLoopBackOff", "back-off 10s")),
                )
            ],
            container_statuses=[
                ContainerStatus("agent", state=ContainerState(waiting=Waiting("PodInitializing")))
            ],
        ),
    )
    well = replace(WELL, agent=daemons("agent", ready=2), pods=(broken,))
    verdict = of("agents", well)
    assert not verdict.passed
    assert verdict.detail == (
        "ready on 2 of 3 nodes: node-7 (load: CrashLoopBackOff: back-off 10s)"
    )
    assert "component=agent" in verdict.remedy


def test_many_pods_that_are_not_ready_are_counted_and_not_all_listed() -> None:
    pods = tuple(
        Pod(
            Metadata(labels={"app.kubernetes.io/component": "proxy"}),
            PodSpec(node_name=f"node-{number}"),
            PodStatus(phase="Pending"),
        )
        for number in range(9)
    )
    detail = of("proxies", replace(WELL, proxy=daemons("proxy", ready=0), pods=pods)).detail
    assert detail.endswith("node-4 (Pending) and 4 more")


def test_roll_out_under_way_is_no_failure_while_all_are_ready() -> None:
    verdict = of("agents", replace(WELL, agent=daemons("agent", updated=1)))
    assert verdict.passed
    assert "1 of them up to date" in verdict.detail


def test_change_that_nobody_has_taken_up_is_not_called_ready() -> None:
    stale = Workloads(part("agent"), Counts(observed_generation=1, desired_number_scheduled=3))
    assert not of("agents", replace(WELL, agent=stale)).passed


@pytest.mark.parametrize(
    ("leadership", "words"),
    [
        (None, "no controller leads"),
        (Leadership("", renewed=False), "no controller leads"),
        (Leadership("culvert-controller-1_ab12", renewed=False), "stopped renewing"),
    ],
)
def test_lease_that_nobody_keeps_is_a_failure(leadership: Leadership | None, words: str) -> None:
    verdict = of("leader", replace(WELL, leadership=leadership))
    assert not verdict.passed
    assert words in verdict.detail
