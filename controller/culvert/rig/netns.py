"""Named network namespaces, as ``ip netns`` knows them (see ip-netns(8), namespaces(7)).

A name is a file under ``/run/netns`` with the namespace bind-mounted on it; the namespace lives as
long as the mount, a process in it, or an open descriptor of it. Python 3.11 has neither
``unshare`` nor ``setns``, hence the calls through libc.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NETNS_DIRECTORY = Path("/run/netns")

_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SHARED = 1 << 20
_MNT_DETACH = 2
_THREAD_NETNS = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str, target: Path, flags: int) -> None:
    _checked(
        _libc.mount(source.encode(), os.fsencode(target), b"none", ctypes.c_ulong(flags), None),
        f"mount {source or 'none'} on {target}",
    )


def _share_directory() -> None:
    """Make ``/run/netns`` a shared mount, so that names reach every mount namespace."""
    NETNS_DIRECTORY.mkdir(parents=True, exist_ok=True)
    try:
        _mount("", NETNS_DIRECTORY, _MS_SHARED | _MS_REC)
    except OSError:
        _mount(str(NETNS_DIRECTORY), NETNS_DIRECTORY, _MS_BIND | _MS_REC)
        _mount("", NETNS_DIRECTORY, _MS_SHARED | _MS_REC)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Hold a descriptor of a namespace for a while."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def restored() -> Iterator[None]:
    """Put the calling thread back into its present network namespace on leaving."""
    with opened(Path(_THREAD_NETNS)) as before:
        try:
            yield
        finally:
            _checked(_libc.setns(before, _CLONE_NEWNET), "return to the network namespace")


@contextmanager
def entered(netns: Path | int) -> Iterator[None]:
    """Move the calling thread, and no other, into a network namespace for a while.

    ``netns`` is a path or an open descriptor. Sockets made inside belong to the namespace for
    good. In a coroutine, do not await inside: the thread would carry other tasks along.

    Raises:
        OSError: there is no such namespace, or the caller may not enter it.
    """
    with restored():
        if isinstance(netns, int):
            _checked(_libc.setns(netns, _CLONE_NEWNET), "enter network namespace")
        else:
            with opened(netns) as descriptor:
                _checked(_libc.setns(descriptor, _CLONE_NEWNET), f"enter {netns}")
        yield


@contextmanager
def created(name: str) -> Iterator[Path]:
    """Make a namespace called ``name`` and stay in it, on the calling thread, until leaving.

    The name appears when the namespace exists, before the body runs; a body that raises leaves no
    namespace behind.

    Raises:
        FileExistsError: the name is taken.
        OSError: the kernel refused.
    """
    path = NETNS_DIRECTORY / name
    _share_directory()
    with restored():
        path.touch(mode=0o444, exist_ok=False)
        try:
            _checked(_libc.unshare(_CLONE_NEWNET), "unshare the network namespace")
            _mount(_THREAD_NETNS, path, _MS_BIND)
            yield path
        except BaseException:
            remove(name)
            raise


def remove(name: str) -> None:
    """Take the name away; the kernel frees the namespace once nothing else holds it.

    Removing a name that is not there changes nothing.
    """
    path = NETNS_DIRECTORY / name
    # EINVAL: nothing is mounted on it, as when making it was cut short.
    while _libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
        pass
    with suppress(FileNotFoundError):
        path.unlink()


def names(prefix: str) -> list[str]:
    """List the namespaces whose names start with ``prefix``, sorted."""
    try:
        return sorted(p.name for p in NETNS_DIRECTORY.iterdir() if p.name.startswith(prefix))
    except FileNotFoundError:
        return []


def write_sysctls(settings: dict[str, str]) -> None:
    """Set sysctls (slash-separated, below ``/proc/sys``) of the calling thread's namespace.

    Ones the kernel does not have are passed over: a kernel without IPv6 lacks its tree.
    """
    for name, value in settings.items():
        with suppress(FileNotFoundError):
            Path("/proc/sys", name).write_text(value)
