"""The data path for kernel tests: loaded once for all of them, attached anew for each."""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_hex

import pytest
from culvert.redirect.removal import remove_data_path
from culvert.rig import Rig, leftovers
from culvert.rig.cgroup import find_mount

from tests.kernel.data_path import BPFFS, DataPath, Loaded, load


@pytest.fixture(scope="session")
def loaded() -> Iterator[Loaded]:
    """The programs and maps, pinned; attached nowhere."""
    root = BPFFS / f"culvert-test-{token_hex(4)}"
    try:
        yield load(root, find_mount())
    finally:
        remove_data_path(root)


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
