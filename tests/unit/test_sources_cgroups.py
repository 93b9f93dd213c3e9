from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path

import pytest
from culvert.sources.cgroups import CgroupSource, pod_uid_of, read_pod_cgroups

UID = "0f3b2c1d-1111-2222-3333-444455556666"


@pytest.mark.parametrize(
    ("directory", "uid"),
    [
        (f"pod{UID}", UID),
        (f"kubepods-pod{UID.replace('-', '_')}.slice", UID),
        (f"kubepods-burstable-pod{UID.replace('-', '_')}.slice", UID),
        (f"kubepods-besteffort-pod{UID.replace('-', '_')}.slice", UID),
        ("kubepods-burstable.slice", None),
        ("besteffort", None),
        ("pod", None),
        ("cri-containerd-0123.scope", None),
    ],
)
def test_pod_directories_of_both_drivers_are_recognised(directory: str, uid: str | None) -> None:
    assert pod_uid_of(directory) == uid


def test_pods_are_found_below_their_quality_of_service_and_containers_are_not(
    tmp_path: Path,
) -> None:
    for path in ("podaaa/podccc", "burstable/podbbb", "kubepods-x/deep/deeper/podddd"):
        (tmp_path / path).mkdir(parents=True)
    assert read_pod_cgroups(tmp_path) == {
        "aaa": (tmp_path / "podaaa").stat().st_ino,
        "bbb": (tmp_path / "burstable" / "podbbb").stat().st_ino,
    }


def test_missing_tree_has_no_pods(tmp_path: Path) -> None:
    assert read_pod_cgroups(tmp_path / "nowhere") == {}


async def next_with(cgroups: AsyncIterator[Mapping[str, int]], *want: str) -> None:
    async with asyncio.timeout(30):
        async for seen in cgroups:
            if list(seen) == list(want):
                return


async def test_pods_that_come_and_go_are_followed(tmp_path: Path) -> None:
    root = tmp_path / "pods"
    async with aclosing(CgroupSource(root, resync_seconds=0.2).watch()) as cgroups:
        await next_with(cgroups)
        (root / "burstable" / "podaaa").mkdir(parents=True)
        await next_with(cgroups, "aaa")
        (root / "podbbb").mkdir()
        await next_with(cgroups, "aaa", "bbb")
        (root / "podbbb").rmdir()
        await next_with(cgroups, "aaa")
