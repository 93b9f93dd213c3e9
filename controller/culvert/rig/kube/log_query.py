"""Which part of a container's log a request asks for; pure but for the reading of the file.

A log is what the container wrote, one run after the other, without times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK_BYTES = 1 << 16
_WITHOUT_TIMES = ("timestamps", "sinceSeconds", "sinceTime")


@dataclass(frozen=True, slots=True)
class LogQuery:
    """``tail_lines`` and ``limit_bytes`` None: all."""

    follow: bool
    previous: bool
    tail_lines: int | None
    limit_bytes: int | None


def parse_log_query(query: Mapping[str, str]) -> LogQuery:
    """Read the query of the kubelet's ``/containerLogs``.

    Raises:
        ValueError: it asks for what is not kept, or holds no number where one belongs.
    """
    for name in _WITHOUT_TIMES:
        if query.get(name, "false") != "false":
            raise ValueError(f"{name}: the nodes of a rig keep no times of log lines")
    return LogQuery(
        follow=query.get("follow") == "true",
        previous=query.get("previous") == "true",
        tail_lines=_number(query, "tailLines"),
        limit_bytes=_number(query, "limitBytes"),
    )


def tail_offset(path: Path, start: int, end: int, lines: int) -> int:
    """Return where the last ``lines`` lines of ``start`` to ``end``, offsets in bytes, begin.

    Raises:
        OSError: the file cannot be read.
    """
    if lines == 0:
        return end
    with path.open("rb") as log:
        # The end of the last line begins no further line.
        upto, missing = max(start, end - 1), lines
        while upto > start:
            begin = max(start, upto - _BLOCK_BYTES)
            log.seek(begin)
            block = log.read(upto - begin)
            count = block.count(b"\n")
            if count >= missing:
                at = len(block)
                for _ in range(missing):
                    at = block.rindex(b"\n", 0, at)
                return begin + at + 1
            missing -= count
            upto = begin
    return start


def _number(query: Mapping[str, str], name: str) -> int | None:
    if name not in query:
        return None
    number = int(query[name])
    if number < 0:
        raise ValueError(f"{name}: {number} is negative")
    return number
