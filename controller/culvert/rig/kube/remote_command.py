"""The messages of an exec stream; pure.

Each WebSocket message is one byte, the channel, and that channel's data. Version 4 ends input only
with the connection; version 5 has a message for it. See "v5.channel.k8s.io" in
``k8s.io/apimachinery/pkg/util/remotecommand`` and ``k8s.io/kubelet/pkg/cri/streaming``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
"""Subprotocols, the best first."""


class Channel(IntEnum):
    """What the first byte of a message says."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    STATUS = 3
    RESIZE = 4
    CLOSE = 255


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """What to run, and which of its streams the client wants."""

    argv: tuple[str, ...]
    stdin: bool
    stdout: bool
    stderr: bool
    terminal: bool


def parse_request(query: Sequence[tuple[str, str]]) -> ExecRequest:
    """Read the query of the kubelet's ``/exec``.

    Raises:
        ValueError: there is no command; says so.
    """
    argv = tuple(value for name, value in query if name == "command")
    if not argv:
        raise ValueError("you must specify at least 1 command for the container")
    asked = {name for name, value in query if value in ("1", "true")}
    terminal = "tty" in asked
    return ExecRequest(
        argv,
        stdin="input" in asked,
        stdout="output" in asked,
        # A terminal has one stream for both.
        stderr="error" in asked and not terminal,
        terminal=terminal,
    )


def parse_size(data: bytes) -> tuple[int, int] | None:
    """Return the columns and rows of a resize message; None when it is none."""
    try:
        size = json.loads(data)
        columns, rows = int(size["Width"]), int(size["Height"])
    except (ValueError, TypeError, KeyError):
        return None
    return (columns, rows) if 0 < columns < 1 << 16 and 0 < rows < 1 << 16 else None


def exit_message(exit_code: int) -> bytes:
    """Return the last message of a stream: a ``Status`` that holds the exit code."""
    status: dict[str, object] = {"metadata": {}, "status": "Success"}
    if exit_code:
        cause = {"reason": "ExitCode", "message": str(exit_code)}
        status |= {
            "status": "Failure",
            "reason": "NonZeroExitCode",
            "message": f"command terminated with non-zero exit code {exit_code}",
            "details": {"causes": [cause]},
        }
    return bytes([Channel.STATUS]) + json.dumps(status).encode()
