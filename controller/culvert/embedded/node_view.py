"""What a node's agent and Envoy say of themselves, wherever they run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from culvert.embedded.unix_http import fetch
from culvert.status.document import AgentStatus

_POLL_SECONDS = 0.05


class NotReadyError(Exception):
    """A node did not become ready in time; says what it was waiting for and where its logs are."""


class NodeView:
    """One node, by the Unix sockets of its two processes."""

    def __init__(self, name: str, status_socket: Path, admin_socket: Path, logs: Path) -> None:
        self.name = name
        self.status_socket = status_socket
        self.admin_socket = admin_socket
        self.logs = logs

    def status(self) -> AgentStatus:
        """The agent's status document.

        Raises:
            OSError: the agent does not answer.
        """
        _, body = fetch(self.status_socket, "/status")
        return msgspec.json.decode(body, type=AgentStatus)

    def envoy_stats(self, pattern: str = "") -> Mapping[str, int]:
        """Envoy's own counters and gauges whose names match the regular expression.

        Raises:
            OSError: Envoy does not answer.
        """
        _, body = fetch(self.admin_socket, f"/stats?format=json&filter={pattern}")
        return {
            entry["name"]: entry["value"]
            for entry in json.loads(body)["stats"]
            if isinstance(entry.get("value"), int)
        }

    def problem(self) -> str:
        """Why there is no use in waiting; empty while there is."""
        return ""

    def wait_ready(self, timeout_seconds: float = 60.0) -> AgentStatus:
        """Wait until the data path holds the newest world and Envoy listens and is synced.

        Raises:
            NotReadyError: it took too long, or a process ended.
        """
        deadline = time.monotonic() + timeout_seconds
        waiting_for = "the agent to answer"
        while time.monotonic() < deadline:
            if problem := self.problem():
                raise NotReadyError(f"{self.name}: {problem}")
            try:
                status = self.status()
            except OSError:
                time.sleep(_POLL_SECONDS)
                continue
            has_proxy = any(proxy.synced for proxy in status.proxies)
            if status.ready and has_proxy and status.proxy_listeners > 0:
                return status
            waiting_for = (
                f"ready={status.ready} proxies={len(status.proxies)} synced={has_proxy} "
                f"listeners={status.proxy_listeners}"
            )
            time.sleep(_POLL_SECONDS)
        raise NotReadyError(
            f"{self.name} was not ready within {timeout_seconds:g} s: {waiting_for}; "
            f"logs are in {self.logs}"
        )
