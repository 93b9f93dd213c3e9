"""Where the xDS socket lives: a private directory, and a name that is replaced in one step."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

SOCKET_MODE = 0o600
DIRECTORY_MODE = 0o700
MAX_PATH_BYTES = 107
"""``sun_path`` less its terminator (unix(7))."""


class SocketPathError(Exception):
    """The socket cannot be made there; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class SocketPath:
    """The path that proxies connect to, and the temporary one the server binds first.

    Binding beside the path and renaming over it replaces a stale socket, or the one of an agent
    that is just leaving, without a moment in which nothing is there.
    """

    path: Path

    @property
    def temporary(self) -> Path:
        """Where to bind before ``publish``."""
        return self.path.with_name(f".{self.path.name}.{os.getpid()}")

    def prepare(self) -> None:
        """Make the directory, and see that nobody else may enter it.

        Raises:
            SocketPathError: the path is too long, taken by something that is no socket, or in a
                directory of another user.
        """
        if len(os.fsencode(self.temporary)) > MAX_PATH_BYTES:
            raise SocketPathError(
                f"socket path {self.path} is longer than {MAX_PATH_BYTES} bytes allow: "
                "choose a shorter directory"
            )
        directory = self.path.parent
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        if directory.stat().st_uid != os.geteuid():
            raise SocketPathError(
                f"directory {directory} of the xDS socket belongs to another user: "
                "choose a directory of its own"
            )
        if stat.S_IMODE(directory.stat().st_mode) & 0o077:
            raise SocketPathError(
                f"directory {directory} of the xDS socket is open to others: "
                f"chmod 700 {directory}, or choose a directory of its own"
            )
        if self.path.exists() and not self.path.is_socket():
            raise SocketPathError(f"{self.path} exists and is no socket: move it away")
        self.temporary.unlink(missing_ok=True)

    def publish(self) -> int:
        """Move the bound socket to its path; return its inode for ``withdraw``."""
        self.temporary.chmod(SOCKET_MODE)
        inode = self.temporary.stat().st_ino
        self.temporary.replace(self.path)
        return inode

    def withdraw(self, inode: int) -> None:
        """Remove the socket unless a successor has replaced it."""
        self.temporary.unlink(missing_ok=True)
        try:
            if self.path.lstat().st_ino == inode:
                self.path.unlink()
        except FileNotFoundError:
            pass
