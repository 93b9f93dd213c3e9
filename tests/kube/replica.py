"""Replicas of the controller as processes on the machine of the tests."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on, in host order."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Replica:
    """One process of ``culvert controller``."""

    def __init__(
        self, kubeconfig: Path, namespace: str, name: str, log: Path, options: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.log = log
        self.reports_port, self.http_port = free_port(), free_port()
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "culvert", "controller", "--namespace", namespace),
                    *("--kubeconfig", str(kubeconfig), "--identity", name),
                    *("--reports-address", f"127.0.0.1:{self.reports_port}"),
                    *("--http-address", f"127.0.0.1:{self.http_port}", "--log-level", "debug"),
                    *options,
                ],
                stdout=out,
                stderr=out,
            )

    @property
    def reports_address(self) -> str:
        """Where it listens when it leads, as it publishes it."""
        return f"127.0.0.1:{self.reports_port}"

    def said(self, word: str) -> bool:
        """Whether its log has the word."""
        return word in self.log.read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


@contextmanager
def replicas(
    kubeconfig: Path, namespace: str, directory: Path, *names: str, options: Sequence[str] = ()
) -> Iterator[list[Replica]]:
    """Start them, with the same ``options`` besides; those that still run are killed on leaving."""
    with ExitStack() as stack:
        started = []
        for name in names:
            replica = Replica(kubeconfig, namespace, name, directory / f"{name}.log", options)
            stack.callback(replica.process.wait)
            stack.callback(replica.process.kill)
            started.append(replica)
        yield started
