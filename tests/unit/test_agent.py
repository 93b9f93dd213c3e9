from __future__ import annotations

from pathlib import Path

from culvert.agent.agent import is_unread
from culvert.agent.data_path import full_map_findings
from culvert.agent.options import pod_levels
from culvert.model.codes import MISSING_FOLDER
from culvert.model.finding import Finding
from culvert.model.key import ObjectKey
from culvert.model.service import Service
from culvert.model.world import World
from culvert.redirect.kernel import MapFull

MISSING = Finding(MISSING_FOLDER.id, "/manifests", "", "does not exist", "create it")


def test_missing_folder_is_no_order_to_remove_everything() -> None:
    assert is_unread(World(findings=(MISSING,)))


def test_world_with_objects_is_applied_although_a_folder_is_missing() -> None:
    service = Service(namespace="default", name="web")
    assert not is_unread(
        World(services={ObjectKey("default", "web"): service}, findings=(MISSING,))
    )


def test_empty_folder_is_an_order_to_remove_everything() -> None:
    assert not is_unread(World())


def test_pod_is_looked_for_down_to_two_levels_of_qos_class_below_the_pods_cgroup() -> None:
    assert pod_levels(Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/kubepods.slice")) == (2, 4)


def test_full_map_names_the_map_and_how_much_did_not_fit() -> None:
    (finding,) = full_map_findings([MapFull("cv_pods", 1024, 3)])
    assert finding.subject == "map cv_pods"
    assert "3 entries" in finding.message
    assert "1024" in finding.message
