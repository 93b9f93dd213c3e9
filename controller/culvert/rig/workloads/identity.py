"""How a workload calls itself, from what the kubelet puts in its environment."""

from __future__ import annotations

import os
import socket


def pod_name() -> str:
    """Return ``POD_NAME``, or the host name."""
    return os.environ.get("POD_NAME") or os.environ.get("HOSTNAME") or socket.gethostname()


def node_name() -> str:
    """Return ``NODE_NAME``, or nothing."""
    return os.environ.get("NODE_NAME", "")
