"""One program of the control plane: started, asked whether it is ready, ended."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 10.0

_STARTER = ThreadPoolExecutor(1, thread_name_prefix="control-plane")
"""All programs are children of this thread: the kernel kills a child when the *thread* that made
it ends (prctl(2), PR_SET_PDEATHSIG), and callers' threads may be short-lived."""


class ControlPlaneError(Exception):
    """A part of the control plane did not start; says which, and its last words."""


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Program:
    """A process with a log. It does not outlive this process, however that ends."""

    def __init__(self, argv: Sequence[str], log: Path) -> None:
        self._argv = list(argv)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """The program's file name."""
        return Path(self._argv[0]).name

    def start(self) -> None:
        """Start it; its output is appended to the log."""
        self._process = _STARTER.submit(self._spawn).result()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def wait_ready(self, is_ready: Callable[[], bool], timeout_seconds: float) -> None:
        """Wait until it says so.

        Raises:
            ControlPlaneError: it ended, or took too long.
        """
        deadline = time.monotonic() + timeout_seconds
        while not is_ready():
            assert self._process is not None
            status = self._process.poll()
            if status is not None or time.monotonic() > deadline:
                what = "was not ready in time" if status is None else f"ended with status {status}"
                raise ControlPlaneError(f"{self.name} {what}: {self._last_line()} ({self._log})")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End it and wait; a second call does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:500] if lines else "no output"
