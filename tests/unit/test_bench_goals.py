from __future__ import annotations

import re

from tests.bench.cases import NEW_CONNECTIONS, REQUESTS
from tests.bench.document import render
from tests.bench.goals import goals
from tests.bench.results import Results, Row, from_json, to_json


def row(
    rates: dict[str, float],
    *,
    table: str = REQUESTS,
    connections: int = 16,
    tails: dict[str, float] | None = None,
) -> Row:
    return Row(
        table=table,
        name="HTTP, 16 connections, 1 KiB",
        connections=connections,
        size_bytes=1024,
        unit="requests/s",
        rate={variant: [rate] * 3 for variant, rate in rates.items()},
        p99_ms={variant: [tail] * 3 for variant, tail in (tails or {}).items()},
    )


def results(*rows: Row) -> Results:
    return Results(
        machine={"Kernel": "6.18"},
        command="make bench",
        rounds=3,
        seconds=1,
        concurrency=1,
        rows=list(rows),
        halting_rows=[],
        idle=[],
        control_plane=None,
    )


def missed(*rows: Row) -> dict[str, list[str]]:
    return {goal.text: goal.missed for goal in goals(results(*rows))}


def test_a_row_that_reaches_everything_is_missed_by_no_goal() -> None:
    good = row({"a": 9.0, "b": 1.0, "c": 2.0, "d": 2.5}, tails={"c": 2.0, "d": 1.0})
    found = missed(good)
    assert len(found) == 5
    assert not any(found.values())


def test_a_row_below_a_goal_is_named_with_what_it_reached() -> None:
    found = missed(row({"a": 9.0, "b": 1.0, "c": 2.0, "d": 2.2}))
    (text,) = (text for text in found if "2.5" in text)
    assert found[text] == ["HTTP, 16 connections, 1 KiB: 2.20"]


def test_small_messages_are_judged_together_and_each_row_is_named() -> None:
    found = missed(
        row({"b": 1.0, "c": 2.0, "d": 2.2}),
        row({"b": 1.0, "c": 2.0, "d": 4.0}),
    )
    (together,) = (text for text in found if "geometric mean" in text)
    assert together.endswith("geometric mean is 1.48")
    assert found[together] == []
    assert found["the same in each of these rows"] == ["HTTP, 16 connections, 1 KiB: 1.10"]


def test_goals_for_kept_connections_leave_new_ones_out() -> None:
    found = missed(row({"b": 1.0, "c": 1.0, "d": 1.1}, table=NEW_CONNECTIONS))
    assert list(found) == ["d / c ≥ 1.0 in every row"]


def test_a_longer_tail_is_missed() -> None:
    found = missed(row({"b": 1.0, "c": 2.0, "d": 3.0}, tails={"c": 1.0, "d": 1.5}))
    assert found["p99 of d no higher than of c"] == ["HTTP, 16 connections, 1 KiB: 1.50"]


def test_a_variant_that_was_not_measured_is_in_no_goal() -> None:
    assert goals(results(row({"c": 1.0}))) == []


def test_every_place_of_the_document_is_filled() -> None:
    text = render(results(row({"a": 9.0, "b": 1.0, "c": 2.0, "d": 2.5})))
    assert re.findall(r"<!--.*?-->", text) == []
    assert "**2.50**" in text


def test_results_survive_their_json_form() -> None:
    one = results(row({"a": 9.0, "b": 1.0, "c": 2.0, "d": 2.5}, tails={"c": 2.0, "d": 1.0}))
    assert from_json(to_json(one)) == one
