from __future__ import annotations

from culvert.control.nodes import ReportingNodes


def test_each_node_has_a_slot_of_its_own_and_its_name_is_found_by_it() -> None:
    nodes = ReportingNodes()
    slots = [nodes.add(name).slot for name in ("a", "b", "c")]
    assert [nodes.name_of(slot) for slot in slots] == ["a", "b", "c"]
    assert len(nodes) == 3


def test_slot_of_a_node_that_is_gone_is_given_to_the_next() -> None:
    nodes = ReportingNodes()
    slot = nodes.add("a").slot
    nodes.add("b")
    nodes.remove("a")
    assert nodes.get("a") is None
    assert nodes.name_of(slot) == ""
    assert nodes.add("c").slot == slot
    assert nodes.add("d").slot == 2


def test_node_that_comes_back_begins_anew() -> None:
    nodes = ReportingNodes()
    before = nodes.add("a")
    before.session_id, before.sequence = "s", 7
    nodes.remove("a")
    again = nodes.add("a")
    assert (again.session_id, again.sequence) == ("", 0)
