"""The data path for kernel tests: loaded once for all of them, attached anew for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from secrets import token_hex

import pytest
from culvert.redirect.removal import remove_data_path
from culvert.rig import Rig, leftovers
from culvert.rig.cgroup import find_mount

from tests.kernel.data_path import BPFFS, DataPath, Loaded, load


@contextmanager
def _loaded(capacities: Mapping[str, int], *, self_test: bool) -> Iterator[Loaded]:
    root = BPFFS / f"culvert-test-{token_hex(4)}"
    try:
        yield load(root, find_mount(), capacities, self_test=self_test)
    finally:
        remove_data_path(root)


@pytest.fixture(scope="session")
def loaded() -> Iterator[Loaded]:
    """The programs and maps, pinned; attached nowhere."""
    with _loaded({}, self_test=True) as made:
        yield made


@pytest.fixture
def own_data_path(rig: Rig) -> Iterator[DataPath]:
    """As ``data_path``, with programs and maps of its own, for tests that take them away."""
    with (
        _loaded({}, self_test=False) as own,
        DataPath(rig.add_node("node-a"), own, own.root / "links") as made,
    ):
        yield made


SMALL_CAPACITIES = {
    "CV_DESTINATIONS_MAX": 4,
    "CV_PODS_MAX": 2,
    "CV_HANDOFF_MAX": 4,
    "CV_CONNECTIONS_MAX": 4,
    "CV_STRICT_MAX": 4,
}


@pytest.fixture(scope="session")
def small_loaded() -> Iterator[Loaded]:
    """Programs with maps of ``SMALL_CAPACITIES``."""
    with _loaded(SMALL_CAPACITIES, self_test=False) as made:
        yield made


@pytest.fixture
def small_data_path(rig: Rig, small_loaded: Loaded) -> Iterator[DataPath]:
    """As ``data_path``, with maps of ``SMALL_CAPACITIES``."""
    links = small_loaded.root / f"links-{rig.rig_id}"
    with DataPath(rig.add_node("node-a"), small_loaded, links) as made:
        yield made


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A rig of which nothing stays."""
    with Rig() as made:
        yield made
    assert leftovers(made.rig_id) == []


@pytest.fixture
def data_path(rig: Rig, loaded: Loaded) -> Iterator[DataPath]:
    """A node with the programs attached and nothing captured yet."""
    links = loaded.root / f"links-{rig.rig_id}"
    with DataPath(rig.add_node("node-a"), loaded, links) as made:
        yield made
