"""What a container finds around it, beside its pod's namespaces and cgroup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class NotStartableError(Exception):
    """A container cannot start now, and may later; ``reason`` is that of a waiting state."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Surroundings(Protocol):
    """Of one container: its variables, files and privileges."""

    async def prepare(self) -> Mapping[str, str]:
        """Make what a start needs, and return all variables of the container.

        Raises:
            NotStartableError: something it names is not there.
        """
        ...

    def launch(self, argv: Sequence[str]) -> list[str]:
        """Return the command that makes the surroundings and then becomes ``argv``.

        It is run in the network namespace and the cgroup of the container.
        """
        ...

    def beside(self, argv: Sequence[str], main_pid: int) -> list[str]:
        """Return the command that runs ``argv`` where the process ``main_pid`` runs."""
        ...
