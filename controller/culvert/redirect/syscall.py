"""The bpf(2) system call, as far as this package needs it.

Layouts are those of ``union bpf_attr`` in the kernel's ``include/uapi/linux/bpf.h``. Used instead
of libbcc in long-lived processes: libbcc brings the whole of LLVM into the address space.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from enum import IntEnum

_NUMBER = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
_libc = ctypes.CDLL(None, use_errno=True)

ANY, NOEXIST, EXIST = 0, 1, 2


class Command(IntEnum):
    """``enum bpf_cmd``."""

    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_ATTACH = 8
    PROG_DETACH = 9
    OBJ_GET_INFO_BY_FD = 15
    LINK_CREATE = 28
    LINK_UPDATE = 29


class AttachType(IntEnum):
    """``enum bpf_attach_type``, the ones used here."""

    CGROUP_INET_INGRESS = 0
    CGROUP_SOCK_OPS = 3
    SK_MSG_VERDICT = 7
    CGROUP_INET4_BIND = 8
    CGROUP_INET6_BIND = 9
    CGROUP_INET4_CONNECT = 10
    CGROUP_INET6_CONNECT = 11
    CGROUP_GETSOCKOPT = 21
    CGROUP_SETSOCKOPT = 22
    CGROUP_INET4_GETPEERNAME = 29
    CGROUP_INET6_GETPEERNAME = 30


def bpf(command: Command, attr: bytes) -> int:
    """One call; returns its non-negative result.

    Raises:
        OSError: with the kernel's errno.
    """
    number = _NUMBER.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"bpf(2) is not known for {platform.machine()}")
    buffer = ctypes.create_string_buffer(attr, len(attr))
    result: int = _libc.syscall(number, int(command), buffer, len(attr))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"bpf {command.name}: {os.strerror(code)}")
    return result


def object_pin(fd: int, path: str) -> None:
    """Give a map, program or link a name in bpffs."""
    name = ctypes.create_string_buffer(path.encode())
    bpf(Command.OBJ_PIN, struct.pack("=QII", ctypes.addressof(name), fd, 0))


def object_get(path: str) -> int:
    """Open what is pinned at ``path``; the caller closes the descriptor."""
    name = ctypes.create_string_buffer(path.encode())
    return bpf(Command.OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0))


def link_create(program_fd: int, target_fd: int, attach_type: AttachType) -> int:
    """Attach a program to a cgroup by a link; detached when the last reference to it is gone."""
    return bpf(Command.LINK_CREATE, struct.pack("=IIII", program_fd, target_fd, attach_type, 0))


def link_update(link_fd: int, program_fd: int) -> None:
    """Put another program in a link's place, atomically: no event runs neither or both."""
    bpf(Command.LINK_UPDATE, struct.pack("=IIII", link_fd, program_fd, 0, 0))


def program_attach(program_fd: int, target_fd: int, attach_type: AttachType) -> None:
    """Attach to a sockhash; replaces the program that was there."""
    bpf(Command.PROG_ATTACH, struct.pack("=IIIII", target_fd, program_fd, attach_type, 0, 0))


class Map:
    """One pinned map: keys and values are bytes of its fixed sizes."""

    def __init__(self, path: str) -> None:
        """Open the map pinned at ``path``.

        Raises:
            OSError: nothing is pinned there, or it is no map.
        """
        self.path = path
        self.fd = object_get(path)
        info = ctypes.create_string_buffer(64)
        bpf(
            Command.OBJ_GET_INFO_BY_FD,
            struct.pack("=IIQ", self.fd, len(info), ctypes.addressof(info)),
        )
        fields: tuple[int, int, int, int, int] = struct.unpack_from("=IIIII", info)
        _, self.id, self.key_bytes, self.value_bytes, self.max_entries = fields

    def close(self) -> None:
        """Close the descriptor; the pin stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _call(self, command: Command, key: bytes | None, value_address: int, flags: int) -> None:
        key_buffer = None if key is None else ctypes.create_string_buffer(key, len(key))
        key_address = 0 if key_buffer is None else ctypes.addressof(key_buffer)
        bpf(command, struct.pack("=IIQQQ", self.fd, 0, key_address, value_address, flags))

    def lookup(self, key: bytes, value_bytes: int | None = None) -> bytes | None:
        """The value, or None. Per-CPU maps need ``value_bytes`` for all CPUs together."""
        value = ctypes.create_string_buffer(value_bytes or self.value_bytes)
        try:
            self._call(Command.MAP_LOOKUP_ELEM, key, ctypes.addressof(value), 0)
        except FileNotFoundError:
            return None
        return value.raw

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Write one entry.

        Raises:
            OSError: E2BIG when the map is full.
        """
        buffer = ctypes.create_string_buffer(value, len(value))
        self._call(Command.MAP_UPDATE_ELEM, key, ctypes.addressof(buffer), flags)

    def delete(self, key: bytes) -> bool:
        """Remove one entry; False when it was not there."""
        try:
            self._call(Command.MAP_DELETE_ELEM, key, 0, 0)
        except FileNotFoundError:
            return False
        return True

    def keys(self) -> Iterator[bytes]:
        """Every key. Entries that come or go meanwhile may be missed or seen twice."""
        key: bytes | None = None
        following = ctypes.create_string_buffer(self.key_bytes)
        while True:
            try:
                self._call(Command.MAP_GET_NEXT_KEY, key, ctypes.addressof(following), 0)
            except FileNotFoundError:
                return
            key = following.raw
            yield key
