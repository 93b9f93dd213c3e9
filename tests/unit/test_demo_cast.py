from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from culvert.embedded.demo.cast import (
    ObjectName,
    Spoken,
    asks_for_mesh,
    find_cast,
    scaled,
    with_session_affinity,
)
from culvert.embedded.demo.readings import ClientReading, Reading
from culvert.embedded.demo.scenario import Action, Event, scenario
from culvert.embedded.demo.view import answered_by
from culvert.embedded.demo.working_copy import WorkingCopy

EXAMPLES = Path(__file__).parents[2] / "examples" / "shop"


@pytest.fixture
def copy(tmp_path: Path) -> WorkingCopy:
    return WorkingCopy(EXAMPLES, tmp_path)


def deployment(name: str, replicas: int = 2) -> dict[str, Any]:
    spec = {"replicas": replicas, "template": {"metadata": {"labels": {"app": name}}}}
    return {"kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def service(name: str, selector: str, protocol: str) -> dict[str, Any]:
    spec = {"selector": {"app": selector}, "ports": [{"port": 80, "appProtocol": protocol}]}
    return {"kind": "Service", "metadata": {"name": name}, "spec": spec}


def test_examples_give_every_step_a_part(copy: WorkingCopy) -> None:
    cast = find_cast(copy.documents)
    assert cast.deployment == ObjectName("shop", "web")
    assert cast.service == ObjectName("shop", "web")
    assert cast.protocols[ObjectName("shop", "ledger")] == Spoken("tcp", is_http=False)
    assert cast.protocols[ObjectName("shop", "prices")] == Spoken("grpc", is_http=True)
    assert [step.action for step in scenario(cast)] == list(Action)


def test_service_and_deployment_of_other_names_are_found_by_their_labels() -> None:
    cast = find_cast([service("front", "api", "http"), deployment("db"), deployment("api", 3)])
    assert cast.deployment == ObjectName("default", "api")
    assert cast.replicas == 3


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "Service", "metadata": None, "spec": None},
        {"kind": "Service", "spec": {"ports": "eighty", "selector": []}},
        {"kind": "Deployment", "spec": {"template": 7}},
        {"kind": "Pod", "metadata": {"annotations": "none"}},
        {},
    ],
)
def test_malformed_objects_play_no_part(document: dict[str, Any]) -> None:
    cast = find_cast([document])
    assert cast.deployment is None
    assert {step.action for step in scenario(cast)} == {
        Action.BREAK_MANIFEST,
        Action.REPAIR_MANIFEST,
        Action.KILL_AGENT,
    }


def test_steps_follow_each_other_within_the_time(copy: WorkingCopy) -> None:
    shares = [step.share for step in scenario(find_cast(copy.documents))]
    assert shares == sorted(shares)
    assert all(0 < share < 1 for share in shares)


def test_only_the_named_object_is_edited() -> None:
    web, other = deployment("web"), deployment("other")
    name = ObjectName("default", "web")
    assert scaled(web, name, 4)["spec"]["replicas"] == 4
    assert web["spec"]["replicas"] == 2
    assert scaled(other, name, 4) == other
    assert scaled(web, ObjectName("elsewhere", "web"), 4) == web
    assert with_session_affinity(web, name) == web


@pytest.mark.parametrize(
    ("pod", "namespace", "asks"),
    [
        ("", "enabled", True),
        ("disabled", "enabled", False),
        ("enabled", "", True),
        ("enabled", "disabled", True),
        ("nonsense", "enabled", True),
        ("", "", False),
    ],
)
def test_pod_label_wins_over_its_namespace(pod: str, namespace: str, asks: bool) -> None:
    assert asks_for_mesh({"culvert.dev/mesh": pod}, {"culvert.dev/mesh": namespace}) is asks


def test_copy_is_edited_and_the_folder_is_not(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    text = "kind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2}\n"
    (source / "web.yaml").write_text(text)
    (source / "torn.yaml").write_text("kind: [")
    copy = WorkingCopy(source, target)
    copy.publish(lambda document: False)
    assert not (target / "torn.yaml").exists()
    copy.publish_all()
    copy.edit(lambda document: scaled(document, ObjectName("default", "web"), 5))
    assert (source / "web.yaml").read_text() == text
    assert "replicas: 5" in (target / "web.yaml").read_text()
    assert (target / "torn.yaml").read_text() == "kind: ["


def test_members_of_a_list_are_objects_of_their_own(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "all.json").write_text('{"kind": "List", "items": [{"kind": "Pod"}, 3]}')
    assert WorkingCopy(source, tmp_path).documents == [{"kind": "Pod"}]


def test_event_counts_from_its_own_beginning() -> None:
    event = Event(3.0, "scaled", requests_before=100, failures_before=0)
    client = ClientReading(
        "c", "node-a", "web", Spoken("http", is_http=True), requests=130, failures=2
    )
    seen = event.seen(Reading(4.0, (client,), (), ()))
    assert (seen.requests, seen.failures) == (30, 2)


def test_pods_are_shown_without_repeating_their_deployment() -> None:
    pods = ("web-689b889170-7dqnz", "web-689b889170-98crq", "booker")
    assert answered_by(pods) == "web: 7dqnz 98crq, booker"
