"""The loader: compile, test and pin the programs, then exit and take LLVM with it.

``python -m culvert.redirect.loader --root /sys/fs/bpf/culvert/node`` prints a ``LoadReport`` as
JSON, or a ``LoadFailure`` with exit status 1. Nothing is attached here: the agent first fills the
maps.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
from bcc import BPF

from culvert.model.redirect import RedirectConfig
from culvert.redirect.attach import (
    AttachError,
    attach,
    attach_sk_msg,
    detach_others,
    hooks,
)
from culvert.redirect.compiler import (
    CAPACITIES,
    PROGRAMS,
    CompileError,
    compile_module,
    load_program,
)
from culvert.redirect.encode import CONFIG, encode_config
from culvert.redirect.kernel import KernelMaps
from culvert.redirect.plan import Put
from culvert.redirect.report import (
    Acceleration,
    CaseResult,
    LoadFailure,
    LoadReport,
    boot_id,
)
from culvert.redirect.selftest import ONLY_ON_REQUEST, enter_private_network, run_cases
from culvert.redirect.selftest_strict import PREFIX, run_strict_cases
from culvert.redirect.source import abi_digest, bpf_directory, source_digest
from culvert.redirect.syscall import Command, bpf, object_pin

BPFFS_MAGIC = 0xCAFE4A11
_FEATURE_OF = {
    "cv_getpeername4": "getpeername",
    "cv_getpeername6": "getpeername",
    "cv_bind4": "client-address",
    "cv_bind6": "client-address",
    "cv_source_address": "client-address",
    "cv_node_connect": "strict",
    "cv_strict_ingress": "strict",
    "cv_sk_msg": "acceleration",
}
"""Programs without which the rest works: one that is missing takes its whole feature with it."""
_SELF_TEST_SECONDS = 60


class LoadError(Exception):
    """Nothing can be loaded; carries what to tell the operator."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.failure = LoadFailure(problem, remedy)


def _filesystem_magic(path: Path) -> int:
    buffer = ctypes.create_string_buffer(256)
    ctypes.CDLL(None, use_errno=True).statfs(str(path).encode(), buffer)
    return int(struct.unpack_from("q", buffer)[0])


def _require_bpffs(root: Path) -> None:
    existing = root
    while not existing.exists():
        existing = existing.parent
    if _filesystem_magic(existing) != BPFFS_MAGIC:
        raise LoadError(f"{existing} is not on a bpf filesystem", f"mount -t bpf bpf {existing}")


def _program_tag(fd: int) -> str:
    info = ctypes.create_string_buffer(256)
    bpf(Command.OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, len(info), ctypes.addressof(info)))
    return info.raw[8:16].hex()


@contextmanager
def _temporary_cgroup(cgroup_root: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="culvert-selftest-", dir=cgroup_root))
    try:
        yield path
    finally:
        path.rmdir()


def _run_in_child(
    cgroup: Path, maps: Path, config: RedirectConfig, *, strict: bool
) -> list[CaseResult]:
    """Run the cases in a child that has joined ``cgroup``; a stuck or dying child is a failure."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read_fd)
            signal.alarm(_SELF_TEST_SECONDS)
            (cgroup / "cgroup.procs").write_text("0")
            with KernelMaps(maps) as opened:
                netns_cookie = enter_private_network()
                opened.accelerate_loopback(netns_cookie)
                results = run_cases(opened, config.budget_bytes, config.max_redirect_bytes)
                if strict:
                    results += run_strict_cases(opened, config, netns_cookie, cgroup.stat().st_ino)
            os.write(write_fd, msgspec.json.encode(results))
            status = 0
        except OSError as error:
            failed = [CaseResult("set-up", False, str(error))]
            os.write(write_fd, msgspec.json.encode(failed))
            status = 0
        finally:
            os._exit(status)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status or not answer:
        return [CaseResult("finishes", False, f"the self-test ended with wait status {status}")]
    return msgspec.json.decode(answer, type=list[CaseResult])


def self_test(directory: Path, root: Path, cgroup_root: Path, *, strict: bool) -> list[CaseResult]:
    """Load a second instance of the programs on maps of its own and run the cases on it.

    With ``strict`` also those of ``selftest_strict``.

    Raises:
        CompileError: as for the programs themselves.
        AttachError: the kernel refused to attach them to a cgroup.
    """
    scratch = root / f"selftest-{os.getpid()}"
    maps, programs, links = scratch / "maps", scratch / "programs", scratch / "links"
    for path in (maps, programs):
        path.mkdir(parents=True)
    small = dict.fromkeys(CAPACITIES, 1024)
    # A small limit, so that the cases see sends on both paths.
    config = RedirectConfig(None, None, {}, accelerate=True, max_redirect_bytes=16 << 10)
    try:
        module = compile_module(directory, str(maps), small, warnings_are_errors=False)
        tested = {"cv_sockops", "cv_sk_msg"}
        if strict:
            tested |= {"cv_node_connect", "cv_strict_ingress"}
        for program in PROGRAMS:
            if program.function in tested:
                object_pin(load_program(module, program), str(programs / program.function))
        with KernelMaps(maps) as opened:
            opened.apply([Put(CONFIG, bytes(4), encode_config(config))])
        attach_sk_msg(programs, maps)
        with _temporary_cgroup(cgroup_root) as cgroup:
            attached = tuple(
                hook for hook in hooks(cgroup, cgroup, cgroup) if hook.program in tested
            )
            try:
                attach(programs, links, attached)
                return _run_in_child(cgroup, maps, config, strict=strict)
            finally:
                detach_others(links, ())
    finally:
        for path in (links, programs, maps):
            for pin in path.iterdir() if path.is_dir() else ():
                pin.unlink()
        shutil.rmtree(scratch, ignore_errors=True)


def _load_programs(module: BPF) -> tuple[dict[str, int], dict[str, str]]:
    """Descriptors by program, and why features cannot be had whose programs were refused."""
    loaded: dict[str, int] = {}
    refused: dict[str, str] = {}
    for program in PROGRAMS:
        try:
            loaded[program.function] = load_program(module, program)
        except CompileError as error:
            if program.function not in _FEATURE_OF:
                raise
            refused.setdefault(_FEATURE_OF[program.function], str(error))
    return loaded, refused


def _pin_programs(loaded: dict[str, int], root: Path) -> dict[str, str]:
    """Pin programs in the place of those of an earlier load, all or none; returns their tags."""
    upcoming = root / f"programs-{os.getpid()}"
    upcoming.mkdir(parents=True)
    tags = {}
    try:
        for function, fd in loaded.items():
            object_pin(fd, str(upcoming / function))
            tags[function] = _program_tag(fd)
        programs = root / "programs"
        if programs.is_dir():
            for pin in programs.iterdir():
                pin.unlink()
            programs.rmdir()
        upcoming.rename(programs)
    except BaseException:
        for pin in upcoming.iterdir() if upcoming.is_dir() else ():
            pin.unlink()
        upcoming.rmdir()
        raise
    return tags


def judge(results: list[CaseResult], unavailable: str) -> tuple[Acceleration, str]:
    """From the self-test to a decision on acceleration and its reason."""
    if unavailable:
        return Acceleration.OFF, unavailable
    failed = [one for one in results if not one.passed and not one.name.startswith(PREFIX)]
    reason = _reason(failed)
    if not failed:
        return Acceleration.ON, ""
    if all(result.name in ONLY_ON_REQUEST for result in failed):
        return Acceleration.ON_REQUEST, reason
    return Acceleration.OFF, reason


def features(refused: Mapping[str, str], results: Iterable[CaseResult]) -> dict[str, str]:
    """What this kernel has, "on" or why not, of the features other than acceleration.

    ``refused`` says of features why their programs could not be loaded.
    """
    getpeername = refused.get("getpeername", "on")
    failed = [one for one in results if not one.passed and one.name.startswith(PREFIX)]
    return {
        "capture": "on",
        "getpeername": getpeername,
        "identity": getpeername if getpeername == "on" else f"needs getpeername: {getpeername}",
        "client-address": refused.get("client-address")
        or (getpeername if getpeername == "on" else f"needs getpeername: {getpeername}"),
        "strict": refused.get("strict") or _reason(failed) or "on",
    }


def _of_features(loaded: Mapping[str, int], found: Mapping[str, str]) -> dict[str, int]:
    """Programs but for those of features that cannot be had."""
    lacking = {feature for feature, state in found.items() if state != "on"}
    return {
        function: fd for function, fd in loaded.items() if _FEATURE_OF.get(function) not in lacking
    }


def _reason(failed: Iterable[CaseResult]) -> str:
    return "; ".join(f"{result.name}: {result.detail}" for result in failed)


def load(root: Path, cgroup_root: Path, *, without: frozenset[str]) -> LoadReport:
    """Compile, pin and test.

    Raises:
        LoadError: the node cannot capture traffic at all.
    """
    start = time.monotonic()
    _require_bpffs(root)
    directory = bpf_directory()
    maps = root / f"maps-{abi_digest(directory, CAPACITIES)}"
    maps.mkdir(parents=True, exist_ok=True)
    results: list[CaseResult] = []
    try:
        module = compile_module(directory, str(maps), CAPACITIES, warnings_are_errors=False)
        loaded, refused = _load_programs(module)
    except CompileError as error:
        raise LoadError(
            str(error), "see the compiler's or verifier's messages above, and docs/install.md"
        ) from error
    unavailable = refused.get("acceleration", "")
    if "acceleration" in without:
        unavailable = "switched off by the operator"
    if not unavailable:
        try:
            results = self_test(directory, root, cgroup_root, strict="strict" not in refused)
        except (CompileError, AttachError, OSError) as error:
            unavailable = f"the self-test could not run: {error}"
    found = features(refused, results)
    tags = _pin_programs(_of_features(loaded, found), root)
    acceleration, reason = judge(results, unavailable)
    return LoadReport(
        boot_id=boot_id(),
        kernel=platform.release(),
        source_sha256=source_digest(directory),
        maps_path=str(maps),
        programs_path=str(root / "programs"),
        program_tags=tags,
        features=found,
        self_test=results,
        acceleration=acceleration,
        acceleration_reason=reason,
        seconds=round(time.monotonic() - start, 3),
    )


def compile_only(root: Path) -> None:
    """Compile with warnings as errors and load every program, leaving nothing; for lint.

    Raises:
        LoadError: a warning, an error, or a refusal by the verifier.
    """
    _require_bpffs(root)
    scratch = root / f"lint-{os.getpid()}"
    scratch.mkdir(parents=True)
    small = dict.fromkeys(CAPACITIES, 1024)
    try:
        module = compile_module(bpf_directory(), str(scratch), small, warnings_are_errors=True)
        for program in PROGRAMS:
            load_program(module, program)
    except CompileError as error:
        raise LoadError(str(error), "fix the C sources") from error
    finally:
        for pin in scratch.iterdir():
            pin.unlink()
        scratch.rmdir()


def main() -> int:
    """Command line of the loader process."""
    parser = argparse.ArgumentParser(prog="culvert-loader", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/sys/fs/bpf/culvert"))
    parser.add_argument("--cgroup-root", type=Path, help="where the self-test makes its cgroup")
    parser.add_argument("--without", action="append", default=[], choices=["acceleration"])
    parser.add_argument("--compile-only", action="store_true")
    arguments = parser.parse_args()
    try:
        if arguments.compile_only:
            compile_only(arguments.root)
            return 0
        if arguments.cgroup_root is None:
            parser.error("--cgroup-root is needed")
        report = load(arguments.root, arguments.cgroup_root, without=frozenset(arguments.without))
    except LoadError as error:
        sys.stdout.write(msgspec.json.encode(error.failure).decode() + "\n")
        return 1
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
