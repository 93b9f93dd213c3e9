"""Which number an identity has, and that nobody gets one that was somebody's a moment ago."""

from __future__ import annotations

from pathlib import Path

import pytest
from culvert.agent import identity_numbers
from culvert.agent.identity_numbers import IdentityNumbers, NumbersExhaustedError


def test_an_identity_keeps_its_number(tmp_path: Path) -> None:
    numbers = IdentityNumbers(tmp_path)
    first = numbers.assign(["a", "b"])
    assert numbers.assign(["b", "c"])["b"] == first["b"]
    assert len(set(numbers.assign(["a", "b", "c"]).values())) == 3


def test_numbers_outlive_the_agent(tmp_path: Path) -> None:
    before = IdentityNumbers(tmp_path).assign(["a", "b"])
    assert IdentityNumbers(tmp_path).assign(["b", "a"]) == before


def test_the_number_of_an_identity_that_is_gone_is_not_the_next_ones(tmp_path: Path) -> None:
    numbers = IdentityNumbers(tmp_path)
    gone = numbers.assign(["gone"])["gone"]
    assert numbers.assign(["new"])["new"] != gone


def test_numbers_in_the_maps_are_nobody_elses_where_the_file_is_lost(tmp_path: Path) -> None:
    assert IdentityNumbers(tmp_path, {1, 2}).assign(["a"])["a"] == 3


def test_a_file_of_another_boot_counts_for_nothing(tmp_path: Path) -> None:
    IdentityNumbers(tmp_path).assign(["a", "b"])
    file = next(tmp_path.iterdir())
    file.write_text(file.read_text().replace('"boot":"', '"boot":"other'))
    assert IdentityNumbers(tmp_path).assign(["b"]) == {"b": 1}


def test_a_damaged_file_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "identity-numbers.json").write_text("{")
    assert IdentityNumbers(tmp_path, {1}).assign(["a"]) == {"a": 2}


def test_all_numbers_in_use_are_an_error_and_the_oldest_free_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_numbers, "MAX_NUMBER", 3)
    numbers = IdentityNumbers(tmp_path)
    numbers.assign(["a", "b", "c"])
    assert numbers.assign(["b", "c", "d"])["d"] == 1
    with pytest.raises(NumbersExhaustedError):
        numbers.assign(["b", "c", "d", "e"])
