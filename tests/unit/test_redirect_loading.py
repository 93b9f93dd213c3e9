from __future__ import annotations

import platform
from pathlib import Path

import msgspec
import pytest
from culvert.model.redirect import ProxyListener, RedirectConfig, address16
from culvert.redirect.btf import Btf, BtfError
from culvert.redirect.headers import find_header_trees
from culvert.redirect.listening import count_proxy_listeners
from culvert.redirect.loader import features, judge
from culvert.redirect.loading import LoaderOptions, reusable_report
from culvert.redirect.report import Acceleration, CaseResult, LoadReport, boot_id
from culvert.redirect.source import abi_digest, bpf_directory, program_text, source_digest

GOOD, BAD = CaseResult("ordering", True, "in order"), CaseResult("ordering", False, "reordered")
STRICT_BAD = CaseResult("strict-node-known", False, "judged as none")
FIONREAD = CaseResult("fionread-tcp", False, "says 0")


@pytest.mark.parametrize(
    ("results", "unavailable", "expected"),
    [
        ([GOOD], "", (Acceleration.ON, "")),
        ([GOOD, FIONREAD], "", (Acceleration.ON_REQUEST, "fionread-tcp: says 0")),
        ([BAD, FIONREAD], "", (Acceleration.OFF, "ordering: reordered; fionread-tcp: says 0")),
        ([], "refused by the verifier", (Acceleration.OFF, "refused by the verifier")),
    ],
)
def test_self_test_decides_how_far_sockmap_is_trusted(
    results: list[CaseResult], unavailable: str, expected: tuple[Acceleration, str]
) -> None:
    assert judge(results, unavailable) == expected


def test_self_test_of_strictness_has_no_say_in_acceleration() -> None:
    assert judge([GOOD, STRICT_BAD], "") == (Acceleration.ON, "")


@pytest.mark.parametrize(
    ("refused", "results", "changed"),
    [
        ({}, [GOOD, BAD], {}),
        ({}, [STRICT_BAD], {"strict": "strict-node-known: judged as none"}),
        ({"strict": "verifier"}, [], {"strict": "verifier"}),
        ({"client-address": "verifier"}, [], {"client-address": "verifier"}),
        (
            {"getpeername": "verifier"},
            [],
            {
                "getpeername": "verifier",
                "identity": "needs getpeername: verifier",
                "client-address": "needs getpeername: verifier",
            },
        ),
    ],
)
def test_feature_that_cannot_be_had_says_why_and_leaves_the_others(
    refused: dict[str, str], results: list[CaseResult], changed: dict[str, str]
) -> None:
    all_on = dict.fromkeys(("capture", "getpeername", "identity", "client-address", "strict"), "on")
    assert features(refused, results) == {**all_on, **changed}


def report(directory: Path, **changes: object) -> LoadReport:
    pins = directory / "pins"
    pins.mkdir(exist_ok=True)
    for name in ("cv_sockops", "cv_sockhash"):
        (pins / name).touch()
    made = LoadReport(
        boot_id=boot_id(),
        kernel=platform.release(),
        source_sha256=source_digest(bpf_directory()),
        maps_path=str(pins),
        programs_path=str(pins),
        program_tags={"cv_sockops": "0"},
        features={},
        self_test=[],
        acceleration=Acceleration.ON,
        acceleration_reason="",
        seconds=1.0,
    )
    return msgspec.structs.replace(made, **changes)


@pytest.mark.parametrize(
    ("changes", "without", "reused"),
    [
        ({}, frozenset(), True),
        ({"boot_id": "another"}, frozenset(), False),
        ({"kernel": "0.1"}, frozenset(), False),
        ({"source_sha256": "other"}, frozenset(), False),
        ({"program_tags": {"gone": "0"}}, frozenset(), False),
        ({"acceleration_reason": "switched off by the operator"}, frozenset(), False),
        ({}, frozenset({"acceleration"}), False),
    ],
)
def test_earlier_load_is_taken_over_only_while_it_holds(
    tmp_path: Path, changes: dict[str, object], without: frozenset[str], reused: bool
) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(msgspec.json.encode(report(tmp_path, **changes)))
    options = LoaderOptions(tmp_path, tmp_path, path, without)
    assert (reusable_report(options) is not None) == reused


def test_unreadable_report_means_to_load_anew(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{")
    assert reusable_report(LoaderOptions(tmp_path, tmp_path, tmp_path / "report.json")) is None


def test_offsets_of_the_running_kernel_are_found() -> None:
    btf = Btf.of_running_kernel()
    assert btf.offset_bytes("tcp_sock", "write_seq") > 0
    nested = btf.offset_bytes("tcp_sock", "inet_conn.icsk_inet.sk.__sk_common.skc_cookie")
    assert nested == btf.offset_bytes("sock_common", "skc_cookie")


@pytest.mark.parametrize(
    ("struct", "field", "words"),
    [("tcp_sock", "no_such", "no field no_such"), ("no_such", "x", "no struct no_such")],
)
def test_missing_field_is_named(struct: str, field: str, words: str) -> None:
    with pytest.raises(BtfError, match=words):
        Btf.of_running_kernel().offset_bytes(struct, field)


@pytest.mark.parametrize("blob", [b"", b"not BTF at all, whatever it may be"])
def test_what_is_no_btf_is_refused(blob: bytes) -> None:
    with pytest.raises(BtfError, match="unknown format"):
        Btf(blob)


def test_kernel_without_btf_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(BtfError, match="CONFIG_DEBUG_INFO_BTF"):
        Btf.of_running_kernel(tmp_path / "vmlinux")


def tree(path: Path, *files: str) -> Path:
    for file in files:
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).touch()
    return path


KCONFIG, AUTOCONF = "include/linux/kconfig.h", "include/generated/autoconf.h"


def test_headers_of_the_running_kernel_come_first(tmp_path: Path) -> None:
    own = tree(tmp_path / "modules" / "build", KCONFIG, AUTOCONF)
    tree(tmp_path / "src" / "linux-headers-9.9", KCONFIG, AUTOCONF)
    assert find_header_trees(tmp_path / "src", tmp_path / "modules") == (own,)


def test_newest_installed_headers_are_taken_and_split_trees_joined(tmp_path: Path) -> None:
    source = tmp_path / "src"
    for version in ("6.1.0-9", "6.1.0-56"):
        tree(source / f"linux-headers-{version}-amd64", AUTOCONF)
        tree(source / f"linux-headers-{version}-common", KCONFIG)
    assert [one.name for one in find_header_trees(source, tmp_path / "modules")] == [
        "linux-headers-6.1.0-56-amd64",
        "linux-headers-6.1.0-56-common",
    ]


def test_no_headers_is_an_empty_answer(tmp_path: Path) -> None:
    assert find_header_trees(tmp_path, tmp_path) == ()


def test_each_header_of_ours_is_in_the_text_once() -> None:
    text = program_text(bpf_directory())
    assert text.count("#define CULVERT_ABI_H") == 1
    assert '#include "' not in text


def test_maps_of_another_size_have_another_digest() -> None:
    directory = bpf_directory()
    assert abi_digest(directory, {"A": 1}) != abi_digest(directory, {"A": 2})


def test_listening_sockets_of_the_proxy_are_counted_and_no_others() -> None:
    config = RedirectConfig(
        address16("169.254.77.1"), None, {ProxyListener.SERVICE_TCP: 15002}, accelerate=True
    )
    sockets = [
        (address16("169.254.77.1"), 15002),
        (address16("169.254.77.1"), 15003),
        (address16("127.0.0.1"), 15002),
    ]
    assert count_proxy_listeners(config, sockets) == 1
