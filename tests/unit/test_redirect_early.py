"""Which counts of early connections are kept, and for how long."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from culvert.redirect.early import EarlyConnections
from culvert.redirect.encode import LOCAL, PODS
from culvert.redirect.plan import Put, Remove


def key(cgroup_id: int) -> bytes:
    return cgroup_id.to_bytes(8, sys.byteorder)


SEVEN, EIGHT = key(7), key(8)


@dataclass
class Counts:
    """What stands for the kernel's map."""

    by_cgroup: dict[int, int]
    asked: list[int] = field(default_factory=list)

    def read(self, cgroup_id: int) -> int:
        self.asked.append(cgroup_id)
        return self.by_cgroup.get(cgroup_id, 0)

    def forget(self, cgroup_id: int) -> None:
        self.by_cgroup.pop(cgroup_id, None)


def test_captured_pods_are_asked_for_once_and_keep_their_count() -> None:
    early, counts = EarlyConnections(), Counts({7: 3, 9: 5})
    for captured in ([SEVEN], [SEVEN, EIGHT]):
        early.follow(captured, counts.read)
    assert counts.asked == [7, 8]
    assert early.by_cgroup() == {7: 3}
    assert early.total == 3
    assert counts.by_cgroup == {7: 3, 9: 5}


def test_agent_that_starts_anew_finds_the_counts_of_pods_that_are_captured() -> None:
    counts = Counts({7: 3})
    EarlyConnections().follow([SEVEN], counts.read)
    again = EarlyConnections()
    again.release([Put(PODS, EIGHT, b""), Put(LOCAL, bytes(16), b"")], counts.forget)
    again.follow([SEVEN, EIGHT], counts.read)
    assert again.by_cgroup() == {7: 3}


def test_pod_that_goes_takes_its_count_along_but_not_from_the_total() -> None:
    early, counts = EarlyConnections(), Counts({7: 2, 8: 1})
    early.follow([SEVEN], counts.read)
    early.release([Remove(LOCAL, EIGHT), Remove(PODS, SEVEN)], counts.forget)
    early.follow([], counts.read)
    assert early.by_cgroup() == {}
    assert early.total == 2
    assert counts.by_cgroup == {8: 1}


def test_pod_that_comes_back_is_counted_from_when_it_went() -> None:
    early, counts = EarlyConnections(), Counts({7: 2})
    early.follow([SEVEN], counts.read)
    early.release([Remove(PODS, SEVEN)], counts.forget)
    counts.by_cgroup[7] = 5
    early.follow([SEVEN], counts.read)
    assert early.by_cgroup() == {7: 5}
    assert early.total == 7
