"""Leaving a demonstration up after its command has returned, and taking it down again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from culvert.embedded.mesh_node import BPFFS, remove_pins
from culvert.rig import leftovers, sweep
from culvert.rig.state import read_state

_END_SECONDS = 30.0
_POLL_SECONDS = 0.1


def owner(rig_id: str) -> int | None:
    """Pid of the process that holds the demo up, if one does."""
    state = read_state(rig_id)
    return state.owner_pid if state is not None and state.owner_alive() else None


def take_down(rig_id: str) -> list[str]:
    """End the demo that is up and remove what any killed one left; says what was done."""
    done = []
    pid = owner(rig_id)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _END_SECONDS
        while owner(rig_id) is not None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if owner(rig_id) is not None:
            os.kill(pid, signal.SIGKILL)
        done.append(f"ended the demo of process {pid}")
    done += [f"removed {thing}" for thing in leftovers(rig_id)]
    sweep(rig_id)
    for pins in BPFFS.glob(f"culvert-{rig_id}-*"):
        done += [f"removed pin {pins.name}/{line}" for line in remove_pins(pins)]
    return done


def run_kept(arguments: list[str]) -> int:
    """Run the demo in a process of its own session, and return when it has shown its summary.

    Returns the exit status that a demo in the foreground would have had.
    """
    ready_fd, child_fd = os.pipe()
    argv = [sys.executable, "-m", "culvert", "demo", *arguments, "--ready-fd", str(child_fd)]
    child = subprocess.Popen(argv, start_new_session=True, pass_fds=(child_fd,))
    os.close(child_fd)
    try:
        with os.fdopen(ready_fd, "rb") as pipe:
            answer = pipe.read()
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        return 130
    return int(answer) if answer else child.wait()


def let_go(ready_fd: int, exit_status: int, log: Path) -> None:
    """Tell the parent that the summary was shown, and leave its terminal to it."""
    sys.stdout.flush()
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(sink, descriptor)
    os.close(sink)
    with suppress(BrokenPipeError):
        os.write(ready_fd, str(exit_status).encode())
    os.close(ready_fd)
