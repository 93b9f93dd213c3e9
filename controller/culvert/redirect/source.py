"""The C text that BCC compiles: our files joined into one translation unit.

BCC rewrites map operations only in the main file, so the project's headers are put in place instead
of being included; ``#line`` keeps compiler messages pointing at the real files.
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

PROGRAM_FILES = (
    "sock_addr/connect.c",
    "sock_addr/bind.c",
    "sockops/sockops.c",
    "sockops/node_connect.c",
    "cgroup_skb/strict.c",
    "sk_msg/sk_msg.c",
    "sockopt/original_dst.c",
    "sockopt/source_address.c",
)
ABI_FILES = ("include/abi.h", "include/maps.h")

_PRELUDE = """\
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/socket.h>
#include <linux/types.h>
"""
_OWN_INCLUDE = re.compile(r'^#include "([a-z_]+\.h)"$', re.MULTILINE)


def bpf_directory() -> Path:
    """Where the C sources are: beside the package in a checkout, inside it when installed.

    Raises:
        FileNotFoundError: neither place has them.
    """
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "bpf", package.parent.parent / "bpf"):
        if (candidate / "include" / "abi.h").is_file():
            return candidate
    raise FileNotFoundError("the BPF sources are not installed with this package")


def program_text(directory: Path) -> str:
    """One translation unit with every program, in the order of ``PROGRAM_FILES``."""
    seen: set[str] = set()

    def inlined(path: Path) -> str:
        def put(match: re.Match[str]) -> str:
            header = directory / "include" / match[1]
            if header.name in seen:
                return ""
            seen.add(header.name)
            line = text.count("\n", 0, match.start()) + 2
            return f'{inlined(header)}\n#line {line} "{path}"'

        text = path.read_text()
        return f'#line 1 "{path}"\n' + _OWN_INCLUDE.sub(put, text)

    return _PRELUDE + "\n".join(inlined(directory / name) for name in PROGRAM_FILES)


def source_digest(directory: Path) -> str:
    """Hex digest of everything that is compiled; shown by ``status`` beside the loaded programs."""
    return sha256(program_text(directory).replace(str(directory), "").encode()).hexdigest()


def abi_digest(directory: Path, capacities: dict[str, int]) -> str:
    """Digest of the layout of the maps; maps of another layout are never reused."""
    parts = [(directory / name).read_text() for name in ABI_FILES]
    parts += [f"{name}={capacities[name]}" for name in sorted(capacities)]
    return sha256("\n".join(parts).encode()).hexdigest()[:12]
