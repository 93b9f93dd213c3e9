"""On which objects findings are told, and which of them are one Event."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
from culvert.control.event_key import MAX_NODES_TOLD, EventKey, standing_events
from culvert.control.regarding import Regarding
from culvert.model.report import ReportedFinding

ON_WEB = ReportedFinding("CV0401", "Service shop/web", "spec", "is wrong", "mend it")
FULL = ReportedFinding("CV0404", "map cv_pods", "", "3 entries do not fit", "make room")


def other(finding: ReportedFinding, message: str) -> ReportedFinding:
    return msgspec.structs.replace(finding, message=message)


def node(name: str) -> Regarding:
    return Regarding("Node", "", name)


def standing(have: Mapping[ReportedFinding, Collection[str]]) -> dict[EventKey, ReportedFinding]:
    return standing_events(sorted(have), lambda finding, most: sorted(have[finding])[:most])


def test_finding_about_an_object_is_one_event_however_many_nodes_have_it() -> None:
    events = standing({ON_WEB: ["a", "b"]})
    assert [key.about for key in events] == [Regarding("Service", "shop", "web")]


def test_other_words_about_an_object_are_another_event() -> None:
    assert len(standing({ON_WEB: ["a"], other(ON_WEB, "is wrong as well"): ["a"]})) == 2


def test_finding_that_names_no_object_is_told_on_every_node_that_has_it() -> None:
    assert [key.about for key in standing({FULL: ["b", "a"]})] == [node("a"), node("b")]


def test_event_on_a_node_stays_the_same_while_counts_in_its_words_change() -> None:
    for before in (FULL, msgspec.structs.replace(FULL, subject="Node a")):
        assert (
            standing({before: ["a"]}).keys() == standing({other(before, "4 do not"): ["a"]}).keys()
        )


def test_each_node_is_told_what_it_said_itself() -> None:
    four = other(FULL, "4 entries do not fit")
    events = standing({FULL: ["b"], four: ["a"]})
    assert {key.about.name: said for key, said in events.items()} == {"a": four, "b": FULL}


def test_what_is_wrong_on_many_nodes_is_told_on_the_first_few_by_name_whatever_each_says() -> None:
    names = [f"node-{number}" for number in range(MAX_NODES_TOLD + 4)]
    alike = standing({FULL: names})
    assert [key.about.name for key in alike] == names[:MAX_NODES_TOLD]
    said = {other(FULL, f"{number} do not fit"): [name] for number, name in enumerate(names)}
    assert standing(said).keys() == alike.keys()


def test_different_things_that_are_wrong_on_a_node_are_told_apart() -> None:
    assert len(standing({FULL: ["a"], msgspec.structs.replace(FULL, subject="map x"): ["a"]})) == 2


def test_while_nodes_are_not_known_only_objects_are_told() -> None:
    assert list(standing({ON_WEB: [], FULL: []}).values()) == [ON_WEB]
