"""Which counts of early connections are kept, and for how long."""

from __future__ import annotations

import sys

from culvert.redirect.early import EarlyConnections
from culvert.redirect.encode import LOCAL, PODS
from culvert.redirect.plan import Put, Remove


def key(cgroup_id: int) -> bytes:
    return cgroup_id.to_bytes(8, sys.byteorder)


def test_only_pods_that_are_written_are_asked_for() -> None:
    early = EarlyConnections()
    early.follow(
        [Put(PODS, key(7), b""), Put(PODS, key(8), b""), Put(LOCAL, bytes(16), b"")],
        {7: 3, 8: 0}.__getitem__,
    )
    assert early.by_cgroup() == {7: 3}
    assert early.total == 3


def test_pod_that_goes_takes_its_count_along_but_not_from_the_total() -> None:
    early = EarlyConnections()
    early.follow([Put(PODS, key(7), b"")], lambda _: 2)
    early.follow([Remove(PODS, key(7))], lambda _: 0)
    assert early.by_cgroup() == {}
    assert early.total == 2


def test_pod_that_comes_back_adds_to_its_count() -> None:
    early = EarlyConnections()
    for count in (2, 0, 5):
        early.follow([Put(PODS, key(7), b"")], {7: count}.__getitem__)
    assert early.by_cgroup() == {7: 7}
