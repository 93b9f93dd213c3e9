"""``decide.h`` as a shared library, and the facts of the header's layout, for the host tests."""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path
from typing import Any

from culvert.redirect import abi
from culvert.redirect.source import bpf_directory

FLAGS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1")


class ConnectFacts(ctypes.Structure):
    """``struct cv_connect_facts``."""

    _fields_ = tuple(
        (name, ctypes.c_uint32)
        for name in (
            "pod_flags",
            "is_own_address",
            "is_excluded_port",
            "is_excluded_cidr",
            "is_proxy_address",
            "has_destination",
            "listener",
            "destination_flags",
            "proxy_listens",
            "proxy_has_family",
        )
    )


class HandoffFacts(ctypes.Structure):
    """``struct cv_handoff_facts``."""

    _fields_ = tuple(
        (name, ctypes.c_uint32) for name in ("own_is_known", "is_own", "is_of_another")
    )


class StrictFacts(ctypes.Structure):
    """``struct cv_strict_facts``."""

    _fields_ = tuple((name, ctypes.c_uint32) for name in ("is_from_node", "is_loopback"))


class SendFacts(ctypes.Structure):
    """``struct cv_send_facts``."""

    _fields_ = tuple(
        (name, ctypes.c_uint32)
        for name in (
            "size_bytes",
            "write_seq",
            "snd_una",
            "peer_rcv_nxt",
            "peer_copied_seq",
            "peer_rmem_bytes",
        )
    )


class EnrolFacts(ctypes.Structure):
    """``struct cv_enrol_facts``."""

    _fields_ = tuple(
        (name, ctypes.c_uint32)
        for name in (
            "local_is_known",
            "local_flags",
            "remote_is_known",
            "remote_flags",
            "is_accepting",
            "peer_is_enrolled",
            "is_mptcp",
        )
    )


FACTS = {
    "cv_connect_facts": ConnectFacts,
    "cv_handoff_facts": HandoffFacts,
    "cv_strict_facts": StrictFacts,
    "cv_send_facts": SendFacts,
    "cv_enrol_facts": EnrolFacts,
}

_EXPORTS = """
#define CV_INLINE
#include "decide.h"
"""


def compile_library(directory: Path) -> ctypes.CDLL:
    """Compile the decisions for this machine, with every warning an error."""
    source, library = directory / "decide.c", directory / "decide.so"
    source.write_text(_EXPORTS)
    include = str(bpf_directory() / "include")
    argv = ["clang", *FLAGS, "-fPIC", "-shared", "-I", include, "-o", str(library), str(source)]
    subprocess.run(argv, check=True)
    return ctypes.CDLL(str(library))


def layout(directory: Path) -> dict[str, Any]:
    """Sizes, offsets and enumerators as the C compiler sees them."""
    structures = {**abi.STRUCTURES, **FACTS}
    lines = ['#include "decide.h"', "#include <stdio.h>", "#include <stddef.h>"]
    lines += ["int main(void) {", 'printf("{");']
    for name, mirror in structures.items():
        for field in mirror._fields_:
            entry = f'"\\"{name}.{field[0]}\\": %zu, "'
            lines.append(f"printf({entry}, offsetof(struct {name}, {field[0]}));")
        lines.append(f'printf("\\"{name}\\": %zu, ", sizeof(struct {name}));')
    for verdict in abi.Verdict:
        lines.append(f'printf("\\"{verdict.name}\\": %d, ", CV_{verdict.name});')
    for flag in abi.PodMapFlag:
        lines.append(f'printf("\\"POD_{flag.name}\\": %d, ", CV_POD_{flag.name});')
    lines.append('printf("\\"VERDICT_COUNT\\": %d}", CV_VERDICT_COUNT);')
    lines += ["return 0; }"]
    source, program = directory / "layout.c", directory / "layout"
    source.write_text("\n".join(lines))
    include = str(bpf_directory() / "include")
    subprocess.run(
        ["clang", *FLAGS, "-Wno-unused-function", "-I", include, "-o", str(program), str(source)],
        check=True,
    )
    answer = subprocess.run([str(program)], check=True, capture_output=True).stdout
    parsed: dict[str, Any] = json.loads(answer)
    return parsed
