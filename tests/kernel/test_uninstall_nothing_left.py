"""After removal nothing of the data path is in the kernel, whatever state it was in."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest
from culvert.redirect.abi import Config, ConfigFlag
from culvert.redirect.encode import CONFIG
from culvert.redirect.removal import remove_data_path
from culvert.redirect.syscall import object_get, object_pin

from tests.kernel.data_path import BPFFS, DataPath

pytestmark = pytest.mark.kernel


def bpftool(*arguments: str) -> list[dict[str, object]]:
    """What bpftool lists."""
    done = subprocess.run(
        ["bpftool", "--json", *arguments], capture_output=True, check=False, timeout=60
    )
    found = json.loads(done.stdout.strip() or b"[]")
    return [one for one in (found if isinstance(found, list) else [found]) if "error" not in one]


def ids(kind: str, directory: Path) -> set[object]:
    """The kernel's ids of the programs, maps or links that are pinned in a directory."""
    shown = [bpftool(kind, "show", "pinned", str(pin)) for pin in sorted(directory.iterdir())]
    return {one["id"] for found in shown for one in found}


def await_gone(kind: str, expected_gone: set[object]) -> None:
    """Wait for the kernel to free objects: it does so after a grace period."""
    deadline = time.monotonic() + 30
    while left := {one["id"] for one in bpftool(kind, "show")} & expected_gone:
        assert time.monotonic() < deadline, f"{kind} objects still in the kernel: {left}"
        time.sleep(0.05)


def used(data_path: DataPath) -> None:
    """Send a captured connection and an accelerated one through, and close them."""
    client, server = data_path.add_pod("client"), data_path.add_pod("server")
    asked = data_path.capture("10.96.0.10", 80)
    data_path.accelerate()
    with data_path.proxy.listen() as listener, client.connect(asked):
        listener.accept()[0].close()
    near, far = data_path.pair(client, server)
    with near, far:
        near.sendall(b"there")
        assert far.recv(5) == b"there"


def test_removal_frees_programs_maps_and_links(own_data_path: DataPath) -> None:
    loaded = own_data_path.loaded
    programs, maps = ids("prog", loaded.programs), ids("map", loaded.maps)
    links = ids("link", own_data_path.links)
    assert (len(programs), len(links)) == (12, len(own_data_path.hooks))
    used(own_data_path)
    assert remove_data_path(loaded.root)
    assert not loaded.root.exists()
    node = own_data_path.node
    for cgroup in (node.pods_cgroup, node.proxy_cgroup):
        assert bpftool("cgroup", "show", str(cgroup)) == []
    own_data_path.maps.close()
    await_gone("link", links)
    await_gone("prog", programs)
    await_gone("map", maps)


@pytest.fixture
def pinned(data_path: DataPath) -> Iterator[Path]:
    """A root of its own with everything of the shared one pinned in it too, links included."""
    root = BPFFS / f"culvert-test-{token_hex(4)}"
    try:
        for directory in (data_path.loaded.maps, data_path.loaded.programs, data_path.links):
            (root / directory.name).mkdir(parents=True)
            for pin in directory.iterdir():
                descriptor = object_get(str(pin))
                object_pin(descriptor, str(root / directory.name / pin.name))
                os.close(descriptor)
        (root / data_path.links.name).rename(root / "links")
        yield root
    finally:
        remove_data_path(root)


def test_removal_stops_capture_first(pinned: Path) -> None:
    """Else new connections would reach a proxy that cannot be told where they were meant to go."""
    links = [line for line in remove_data_path(pinned) if line.startswith("link ")]
    assert links[:2] == ["link pods-connect4", "link pods-connect6"]


def test_removal_leaves_no_port_to_be_taken_for_an_identity(own_data_path: DataPath) -> None:
    """The proxy still runs, and takes ports for numbers."""
    client = own_data_path.add_pod("client", identity_number=7)
    asked = own_data_path.capture("10.96.0.10", 80)
    own_data_path.identify()
    with own_data_path.proxy.listen(), client.connect(asked):
        remove_data_path(own_data_path.loaded.root)
        (raw,) = own_data_path.maps.read()[CONFIG].values()
    assert Config.from_buffer_copy(raw).flags == ConfigFlag.IDENTITY


def test_removing_again_finds_nothing(pinned: Path) -> None:
    assert remove_data_path(pinned)
    assert not pinned.exists()
    assert remove_data_path(pinned) == []


@pytest.mark.parametrize("gone", ["links/pods-connect4", "programs/cv_sk_msg", "maps-*/cv_config"])
def test_removal_finishes_what_another_left_half_done(pinned: Path, gone: str) -> None:
    next(pinned.glob(gone)).unlink()
    remove_data_path(pinned)
    assert not pinned.exists()


def test_removal_takes_maps_of_an_earlier_layout_too(pinned: Path) -> None:
    """An update that changes the maps makes them anew beside the earlier ones."""
    next(pinned.glob("maps-*")).rename(pinned / "maps-0123456789ab")
    remove_data_path(pinned)
    assert not pinned.exists()
