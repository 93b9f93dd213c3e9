"""Compiling and loading the programs with BCC; imported only by the short-lived loader process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bcc import BPF

from culvert.model.redirect import STRICT_ENTRIES_MAX
from culvert.redirect.btf import Btf, BtfError
from culvert.redirect.headers import headers_for_bcc
from culvert.redirect.source import program_text
from culvert.redirect.syscall import AttachType

_PROGRAM_TYPE_CGROUP_SOCKOPT = 25  # missing from BCC 0.26's table

CAPACITIES = {
    "CV_DESTINATIONS_MAX": 262144,
    "CV_PODS_MAX": 1024,
    "CV_EARLY_MAX": 16384,
    "CV_EXCLUSIONS_MAX": 16384,
    "CV_LOCAL_MAX": 4096,
    "CV_HANDOFF_MAX": 65536,
    "CV_STRICT_MAX": STRICT_ENTRIES_MAX,
    "CV_NODE_CONNECTING_MAX": 16384,
    "CV_REFUSED_MAX": 1024,
    "CV_CONNECTIONS_MAX": 131072,
}

_OFFSETS = {
    "CV_OFFSET_WRITE_SEQ": ("tcp_sock", "write_seq"),
    "CV_OFFSET_SND_UNA": ("tcp_sock", "snd_una"),
    "CV_OFFSET_RCV_NXT": ("tcp_sock", "rcv_nxt"),
    "CV_OFFSET_COPIED_SEQ": ("tcp_sock", "copied_seq"),
    "CV_OFFSET_RMEM_ALLOC": ("sock", "sk_backlog.rmem_alloc"),
    "CV_OFFSET_COOKIE": ("sock_common", "skc_cookie"),
}


class CompileError(Exception):
    """The programs could not be compiled or were refused by the verifier."""


@dataclass(frozen=True, slots=True)
class Program:
    """How one program is loaded, and the hook its link is pinned as."""

    function: str
    program_type: int
    attach_type: AttachType


PROGRAMS = (
    Program("cv_connect4", BPF.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT),
    Program("cv_connect6", BPF.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_CONNECT),
    Program("cv_bind4", BPF.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_BIND),
    Program("cv_bind6", BPF.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_BIND),
    Program("cv_getpeername4", BPF.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_GETPEERNAME),
    Program("cv_getpeername6", BPF.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_GETPEERNAME),
    Program("cv_sockops", BPF.SOCK_OPS, AttachType.CGROUP_SOCK_OPS),
    Program("cv_node_connect", BPF.SOCK_OPS, AttachType.CGROUP_SOCK_OPS),
    Program("cv_strict_ingress", BPF.CGROUP_SKB, AttachType.CGROUP_INET_INGRESS),
    Program("cv_original_dst", _PROGRAM_TYPE_CGROUP_SOCKOPT, AttachType.CGROUP_GETSOCKOPT),
    Program("cv_source_address", _PROGRAM_TYPE_CGROUP_SOCKOPT, AttachType.CGROUP_SETSOCKOPT),
    Program("cv_sk_msg", BPF.SK_MSG, AttachType.SK_MSG_VERDICT),
)


def offset_flags(btf: Btf) -> list[str]:
    """``-D`` flags with the field offsets of the running kernel.

    Raises:
        BtfError: a field that the sequenced switch needs is not there.
    """
    flags = [f"-D{name}={btf.offset_bytes(*where)}" for name, where in _OFFSETS.items()]
    try:
        mptcp = btf.offset_bytes("tcp_sock", "is_mptcp")
    except BtfError:
        mptcp = 0  # a kernel without MPTCP
    return [*flags, f"-DCV_OFFSET_IS_MPTCP={mptcp}"]


def compile_module(
    directory: Path, maps_path: str, capacities: dict[str, int], *, warnings_are_errors: bool
) -> BPF:
    """Compile all programs; creates and pins the maps that ``maps_path`` does not hold yet.

    Raises:
        CompileError: no headers, no BTF, or the compiler refused; its messages went to stderr.
    """
    try:
        offsets = offset_flags(Btf.of_running_kernel())
    except BtfError as error:
        raise CompileError(str(error)) from error
    flags = [
        "-DCV_PIN=" + f'"{maps_path}"',
        *(f"-D{name}={value}" for name, value in capacities.items()),
        *offsets,
        # BCC's own prelude is not clean under -Wall; these are the classes it trips.
        "-Wno-unknown-attributes",
    ]
    if warnings_are_errors:
        flags += ["-Wall", "-Werror", "-Wno-macro-redefined", "-Wno-address-of-packed-member"]
    with headers_for_bcc() as found:
        if not found:
            raise CompileError(
                "no kernel headers found under /lib/modules or /usr/src; "
                "install the package linux-headers for this architecture"
            )
        try:
            return BPF(text=program_text(directory).encode(), cflags=flags)
        except Exception as error:  # BCC raises bare Exception
            raise CompileError(str(error)) from error


def load_program(module: BPF, program: Program) -> int:
    """Load one program; returns its descriptor, owned by ``module``.

    Raises:
        CompileError: the verifier refused it.
    """
    try:
        loaded = module.load_func(
            program.function.encode(), program.program_type, attach_type=int(program.attach_type)
        )
    except Exception as error:  # BCC raises bare Exception
        raise CompileError(f"{program.function}: {error}") from error
    return int(loaded.fd)
