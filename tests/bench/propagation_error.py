"""Why a measurement of propagation ended before its end."""

from __future__ import annotations


class PropagationError(Exception):
    """The message says what did not happen."""


class WorldNotStoredError(PropagationError):
    """etcd did not take a part of the world."""


class NotAppliedError(PropagationError):
    """The agent did not apply a change in time."""


class NotThereError(PropagationError):
    """The agent says that it applied a change, and the kernel or Envoy does not show it."""
