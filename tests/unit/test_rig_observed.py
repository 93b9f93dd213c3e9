"""The folder of observed objects, the folder of manifests, probes and rig names."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from culvert import rig
from culvert.rig.addressing import NumberPool
from culvert.rig.cgroup import NoCgroup2Error, find_mount
from culvert.rig.codes import RIG_CODES
from culvert.rig.manifest_folder import ManifestFolder
from culvert.rig.observed import ObservedFolder
from culvert.rig.podspec import Probe, TcpSocket
from culvert.rig.probe import Tally
from culvert.rig.wanted import ObjectKey
from hypothesis import given
from hypothesis import strategies as st


def objects(**values: int) -> dict[ObjectKey, dict[str, Any]]:
    return {ObjectKey("Pod", "default", name): {"v": v} for name, v in values.items()}


def test_folder_holds_exactly_the_objects(tmp_path: Path) -> None:
    (tmp_path / "left.over.json").write_text("{}")
    (tmp_path / "not-ours.txt").write_text("")
    folder = ObservedFolder(tmp_path)
    folder.write(objects(a=1, b=1))
    folder.write(objects(b=2, c=1))
    assert {p.name for p in tmp_path.iterdir()} == {
        "not-ours.txt",
        "pod.default.b.json",
        "pod.default.c.json",
    }
    assert json.loads((tmp_path / "pod.default.b.json").read_text()) == {"v": 2}


def test_unchanged_object_is_not_written_again(tmp_path: Path) -> None:
    folder = ObservedFolder(tmp_path)
    assert folder.write(objects(a=1, b=1)) == 2
    assert folder.write(objects(a=1, b=1)) == 0
    assert folder.write(objects(a=1, b=2)) == 1


def test_file_that_turns_bad_counts_with_its_last_good_documents(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("kind: A\n---\nkind: B\n---\n")
    folder = ManifestFolder(tmp_path)
    documents, findings = folder.read()
    assert [d.document["kind"] for d in documents] == ["A", "B"]
    assert findings == []
    file.write_text("kind: [\n")
    documents, (finding,) = folder.read()
    assert [d.document["kind"] for d in documents] == ["A", "B"]
    assert finding.subject == str(file)
    assert finding.message.startswith("line 2, column 1: ")
    file.unlink()
    assert folder.read() == ([], [])


def test_vanished_folder_keeps_its_last_good_documents(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.yaml").write_text("kind: A\n")
    folder = ManifestFolder(tmp_path / "m")
    folder.read()
    (tmp_path / "m" / "a.yaml").unlink()
    (tmp_path / "m").rmdir()
    documents, (finding,) = folder.read()
    assert [d.document["kind"] for d in documents] == ["A"]
    assert "no such folder" in finding.message


def test_lists_json_and_subfolders_are_read_and_hidden_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.json").write_text('{"kind": "B"}')
    (tmp_path / "a.yml").write_text("kind: List\nitems: [{kind: A1}, {kind: A2}]\n")
    (tmp_path / ".hidden.yaml").write_text("kind: H\n")
    (tmp_path / "readme.md").write_text("#")
    documents, findings = ManifestFolder(tmp_path).read()
    assert [d.document["kind"] for d in documents] == ["A1", "A2", "B"]
    assert findings == []


def test_document_that_is_no_object_is_reported_and_the_others_count(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("just text\n---\nkind: A\n")
    documents, (finding,) = ManifestFolder(tmp_path).read()
    assert [d.document["kind"] for d in documents] == ["A"]
    assert finding.subject.endswith("a.yaml#1")


def probe(success: int, failure: int) -> Probe:
    return Probe(TcpSocket(1), 0, 1, 1, success, failure)


@pytest.mark.parametrize(
    ("results", "verdicts"),
    [("+", "+"), ("--+--+", "--++++"), ("+---", "+++-"), ("+--+--", "++++++")],
)
def test_verdict_changes_after_a_row_of_like_results(results: str, verdicts: str) -> None:
    tally = Tally(probe(1, 3), passing=False)
    got = "".join("+" if tally.record(success=r == "+") else "-" for r in results)
    assert got == verdicts


def test_success_threshold_counts_a_row() -> None:
    tally = Tally(probe(2, 1), passing=False)
    assert [tally.record(success=r) for r in (True, False, True, True)] == [
        False,
        False,
        False,
        True,
    ]


@given(st.lists(st.booleans(), max_size=60))
def test_pool_never_hands_out_a_number_that_is_taken(takes: list[bool]) -> None:
    pool = NumberPool(5)
    taken: list[int] = []
    for take in takes:
        if take and len(taken) < 5:
            number = pool.take()
            assert number not in taken
            assert 1 <= number <= 5
            taken.append(number)
        elif not take and taken:
            pool.give_back(taken.pop())


def test_empty_pool_says_so() -> None:
    pool = NumberPool(1)
    pool.take()
    with pytest.raises(RuntimeError, match="all 1"):
        pool.take()


def test_cgroup_mount_is_found_in_a_hybrid_set_up(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
        "cgroup2 /sys/fs/cgroup/uni\\040fied cgroup2 rw 0 0\n"
    )
    assert find_mount(mounts) == Path("/sys/fs/cgroup/uni fied")
    mounts.write_text("proc /proc proc rw 0 0\n")
    with pytest.raises(NoCgroup2Error, match="mount -t cgroup2"):
        find_mount(mounts)


def test_finding_codes_are_unique() -> None:
    assert len({code.id for code in RIG_CODES}) == len(RIG_CODES)


def test_names_of_the_package_stay_functions_once_their_modules_are_loaded() -> None:
    for name in rig.__all__:
        getattr(rig, name)
    assert all(not isinstance(getattr(rig, name), ModuleType) for name in rig.__all__)
