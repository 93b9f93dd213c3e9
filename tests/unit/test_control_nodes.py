from __future__ import annotations

import pytest
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


@pytest.mark.parametrize("number", [3, 500])
def test_nodes_of_some_slots_are_named_in_order_few_or_many(number: int) -> None:
    nodes = ReportingNodes()
    names = [f"node-{place:03}" for place in range(number)]
    bits = {name: 1 << nodes.add(name).slot for name in reversed(names)}
    assert nodes.names_of(sum(bits.values()), 2) == names[:2]
    assert nodes.names_of(sum(bits.values()), number + 1) == names
    assert nodes.names_of(sum(bits.values()) - bits[names[0]], 2) == names[1:3]
    assert nodes.names_of(0, 2) == []
    nodes.remove(names[1])
    added = 1 << nodes.add("a").slot
    assert added == bits.pop(names[1])
    assert nodes.names_of(sum(bits.values()) + added, 2) == ["a", names[0]]
