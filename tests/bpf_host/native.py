"""The decisions of the data path, compiled for this machine and called through ctypes."""

from __future__ import annotations

import ctypes
import re
import subprocess
from ctypes import c_int, c_uint32
from pathlib import Path
from typing import Any

from culvert.redirect import abi
from culvert.redirect.source import bpf_directory

INCLUDE = bpf_directory() / "include"
FLAGS = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}")


class ConnectFacts(ctypes.Structure):
    """``struct cv_connect_facts``."""

    _fields_ = (
        ("pod_flags", c_uint32),
        ("is_own_address", c_uint32),
        ("is_excluded_port", c_uint32),
        ("is_excluded_cidr", c_uint32),
        ("is_proxy_address", c_uint32),
        ("has_destination", c_uint32),
        ("listener", c_uint32),
        ("destination_flags", c_uint32),
        ("proxy_listens", c_uint32),
        ("proxy_has_family", c_uint32),
    )


class SendFacts(ctypes.Structure):
    """``struct cv_send_facts``."""

    _fields_ = (
        ("size_bytes", c_uint32),
        ("write_seq", c_uint32),
        ("snd_una", c_uint32),
        ("peer_rcv_nxt", c_uint32),
        ("peer_copied_seq", c_uint32),
        ("peer_rmem_bytes", c_uint32),
    )


class EnrolFacts(ctypes.Structure):
    """``struct cv_enrol_facts``."""

    _fields_ = (
        ("local_is_known", c_uint32),
        ("local_flags", c_uint32),
        ("remote_is_known", c_uint32),
        ("remote_flags", c_uint32),
        ("is_accepting", c_uint32),
        ("peer_is_enrolled", c_uint32),
        ("is_mptcp", c_uint32),
    )


FACTS: dict[str, type[ctypes.Structure]] = {
    "cv_connect_facts": ConnectFacts,
    "cv_send_facts": SendFacts,
    "cv_enrol_facts": EnrolFacts,
}


class Decisions:
    """``decide.h`` as a shared library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        for name in ("cv_address_is_zero", "cv_address_is_mapped4", "cv_address_is_loopback"):
            getattr(library, name).argtypes = [ctypes.c_char_p]

    def decide_connect(self, **facts: int) -> abi.Verdict:
        """``cv_decide_connect``."""
        decide: Any = self._library.cv_decide_connect
        return abi.Verdict(decide(ctypes.byref(ConnectFacts(**facts))))

    def decide_send(self, config: abi.Config, **facts: int) -> abi.Verdict:
        """``cv_decide_send``."""
        decide: Any = self._library.cv_decide_send
        return abi.Verdict(decide(ctypes.byref(config), ctypes.byref(SendFacts(**facts))))

    def decide_send_early(self, config: abi.Config, size_bytes: int) -> abi.Verdict:
        """``cv_decide_send_early``."""
        decide: Any = self._library.cv_decide_send_early
        return abi.Verdict(decide(ctypes.byref(config), c_uint32(size_bytes)))

    def decide_enrol(self, config: abi.Config, **facts: int) -> abi.Verdict:
        """``cv_decide_enrol``."""
        decide: Any = self._library.cv_decide_enrol
        return abi.Verdict(decide(ctypes.byref(config), ctypes.byref(EnrolFacts(**facts))))

    def address_is(self, what: str, packed: bytes) -> bool:
        """``cv_address_is_<what>``."""
        assert len(packed) == 16
        return bool(getattr(self._library, f"cv_address_is_{what}")(packed))

    def reversed(self, key: abi.ConnectionKey) -> abi.ConnectionKey:
        """``cv_connection_key_reverse``; what was in the result before is not left there."""
        result = abi.ConnectionKey.from_buffer_copy(b"\xff" * ctypes.sizeof(abi.ConnectionKey))
        self._library.cv_connection_key_reverse(ctypes.byref(result), ctypes.byref(key))
        return result


def compile_c(text: str, output: Path, *flags: str) -> Path:
    """Compile C with warnings as errors.

    Raises:
        AssertionError: it does not compile; holds the messages.
    """
    argv = ["cc", *FLAGS, *flags, "-x", "c", "-", "-o", str(output)]
    done = subprocess.run(argv, input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return output


def load_decisions(directory: Path) -> Decisions:
    """Compile ``decide.h`` with every function visible, and load it."""
    shared = compile_c(
        '#define CV_INLINE\n#include "decide.h"\n',
        directory / "decide.so",
        "-shared",
        "-fPIC",
        "-Wno-missing-prototypes",
    )
    return Decisions(ctypes.CDLL(str(shared)))


def declared(kind: str, *headers: str) -> dict[str, list[str]]:
    """Names of the ``struct`` or ``enum`` that headers declare, with their members in order."""
    text = "\n".join((INCLUDE / header).read_text() for header in headers)
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    found = {}
    for name, body in re.findall(rf"^{kind} (\w+) {{(.*?)^}};", text, re.DOTALL | re.MULTILINE):
        if kind == "enum":
            found[name] = re.findall(r"(\w+)\s*(?:=[^,]*)?,", body)
        else:
            found[name] = re.findall(r"(\w+)(?:\[\w+\])?;", body)
    return found


ListenerIndex = c_int
