from __future__ import annotations

import pytest

from tests.bench.samples import paired_ratio, spread, turns


def test_spread_is_median_and_quartiles() -> None:
    found = spread([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.low, found.median, found.high) == (2.0, 3.0, 4.0)


def test_one_value_has_no_width() -> None:
    found = spread([7.0])
    assert found.low == found.median == found.high == 7.0


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])


def test_a_machine_that_slows_down_leaves_paired_ratios_alone() -> None:
    base = [100.0, 50.0, 10.0, 5.0]
    ratio = paired_ratio([2 * one for one in base], base)
    assert ratio.spread.low == ratio.spread.high == 2.0
    assert not ratio.is_noise


@pytest.mark.parametrize(
    ("values", "is_noise"),
    [
        ([1.1, 1.2, 1.3, 1.4], False),
        ([0.6, 0.7, 0.8, 0.9], False),
        ([0.8, 0.9, 1.1, 1.2], True),
        ([1.0, 1.0, 1.0, 1.0], True),
    ],
)
def test_a_ratio_with_1_between_its_quartiles_is_noise(values: list[float], is_noise: bool) -> None:
    assert paired_ratio(values, [1.0] * 4).is_noise is is_noise


def test_rounds_that_are_not_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="2 values and 1"):
        paired_ratio([1.0, 2.0], [1.0])


def test_every_variant_has_every_place_in_turn() -> None:
    orders = [turns("abcd", number) for number in range(4)]
    for place in range(4):
        assert sorted(order[place] for order in orders) == ["a", "b", "c", "d"]
