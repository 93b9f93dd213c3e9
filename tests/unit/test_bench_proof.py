from __future__ import annotations

import pytest

from tests.bench.proof import Counted, way_problem

NOTHING = dict.fromkeys(
    ("connect_redirected", "original_served", "enrol_done", "send_redirected", "send_tcp_off"), 0
)
CAPTURED = NOTHING | {"connect_redirected": 4, "original_served": 4}
ACCELERATED = CAPTURED | {"enrol_done": 16, "send_redirected": 4000}


def counted(kernel: dict[str, int], client: int = 0, server: int = 0) -> Counted:
    proxied = {"client-b": client, "http-b": server}
    return Counted(kernel=kernel, proxied=proxied, requests=1000)


@pytest.mark.parametrize(
    ("variant", "right"),
    [
        ("a", counted(NOTHING)),
        ("b", counted(NOTHING, client=4, server=4)),
        ("c", counted(CAPTURED)),
        ("d", counted(ACCELERATED)),
    ],
)
def test_the_right_way_has_no_problem(variant: str, right: Counted) -> None:
    assert way_problem(variant, right) == ""


@pytest.mark.parametrize(
    ("variant", "wrong", "problem"),
    [
        ("a", counted(CAPTURED), "the mesh saw it"),
        ("a", counted(NOTHING, client=4), "1 sidecars"),
        ("b", counted(NOTHING, client=4), "1 sidecars"),
        ("b", counted(NOTHING), "0 sidecars"),
        ("c", counted(NOTHING), "not captured"),
        ("c", counted(ACCELERATED), "accelerated"),
        ("d", counted(NOTHING), "not captured"),
        ("d", counted(CAPTURED), "not both hops"),
        ("d", counted(ACCELERATED | {"send_redirected": 2000}), "not both hops"),
        ("d", counted(ACCELERATED | {"original_served": 0}), "not told where"),
    ],
)
def test_a_wrong_way_is_named(variant: str, wrong: Counted, problem: str) -> None:
    assert problem in way_problem(variant, wrong)
