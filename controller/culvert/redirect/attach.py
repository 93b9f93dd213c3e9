"""Attaching the pinned programs by pinned links, replacing them without a gap, removing them.

A link outlives the process that made it for as long as its pin exists, and no longer: a restarted
agent finds its programs running, and an uninstalled one leaves none behind.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from culvert.redirect.syscall import (
    AttachType,
    Command,
    bpf,
    link_create,
    link_update,
    object_get,
    object_pin,
    program_attach,
)

SOCKHASH = "cv_sockhash"
SK_MSG_PROGRAM = "cv_sk_msg"


@dataclass(frozen=True, slots=True)
class Hook:
    """One attachment of one program to one cgroup. ``name`` is its pin's: bpffs allows no dots."""

    name: str
    program: str
    cgroup: Path
    attach_type: AttachType

    @property
    def captures(self) -> bool:
        """Whether this hook sends connections to the proxy."""
        return self.attach_type in (
            AttachType.CGROUP_INET4_CONNECT,
            AttachType.CGROUP_INET6_CONNECT,
        )


class AttachError(Exception):
    """A program could not be attached; says which, where and why."""


def hooks(pods: Path, proxy: Path, root: Path) -> tuple[Hook, ...]:
    """What is attached where, in the order of attaching: capture comes when all else is ready.

    ``root`` is the node's root cgroup, which has the kubelet in it. Pods are judged only when what
    tells the node's own connections runs.

    Where the proxy's cgroup lies inside the pods' (a DaemonSet pod under kubepods), the programs
    attached to the outer one run for it as well, and must not run twice.
    """
    return (
        Hook("proxy-getsockopt", "cv_original_dst", proxy, AttachType.CGROUP_GETSOCKOPT),
        Hook("proxy-setsockopt", "cv_source_address", proxy, AttachType.CGROUP_SETSOCKOPT),
        Hook("proxy-bind4", "cv_bind4", proxy, AttachType.CGROUP_INET4_BIND),
        Hook("proxy-bind6", "cv_bind6", proxy, AttachType.CGROUP_INET6_BIND),
        *(() if proxy.is_relative_to(pods) else _hooks_of_both("proxy", proxy)),
        *_hooks_of_both("pods", pods),
        Hook("node-sockops", "cv_node_connect", root, AttachType.CGROUP_SOCK_OPS),
        Hook("pods-ingress", "cv_strict_ingress", pods, AttachType.CGROUP_INET_INGRESS),
        Hook("pods-connect4", "cv_connect4", pods, AttachType.CGROUP_INET4_CONNECT),
        Hook("pods-connect6", "cv_connect6", pods, AttachType.CGROUP_INET6_CONNECT),
    )


def _hooks_of_both(owner: str, cgroup: Path) -> tuple[Hook, ...]:
    return (
        Hook(f"{owner}-sockops", "cv_sockops", cgroup, AttachType.CGROUP_SOCK_OPS),
        Hook(
            f"{owner}-getpeername4", "cv_getpeername4", cgroup, AttachType.CGROUP_INET4_GETPEERNAME
        ),
        Hook(
            f"{owner}-getpeername6", "cv_getpeername6", cgroup, AttachType.CGROUP_INET6_GETPEERNAME
        ),
    )


def _link_cgroup_id(link_fd: int) -> int:
    info = ctypes.create_string_buffer(64)
    bpf(
        Command.OBJ_GET_INFO_BY_FD,
        struct.pack("=IIQ", link_fd, len(info), ctypes.addressof(info)),
    )
    return int(struct.unpack_from("=Q", info, 16)[0])


def _attach_hook(hook: Hook, programs: Path, links: Path) -> None:
    pin = links / hook.name
    program_fd = object_get(str(programs / hook.program))
    try:
        if pin.exists():
            link_fd = object_get(str(pin))
            try:
                if _link_cgroup_id(link_fd) == hook.cgroup.stat().st_ino:
                    link_update(link_fd, program_fd)
                    return
            except OSError as error:
                if error.errno != errno.ENOLINK:
                    raise
            finally:
                os.close(link_fd)
            # The cgroup was removed and made anew: the old link holds a dead one.
            pin.unlink()
        cgroup_fd = os.open(hook.cgroup, os.O_RDONLY | os.O_DIRECTORY)
        try:
            link_fd = link_create(program_fd, cgroup_fd, hook.attach_type)
        finally:
            os.close(cgroup_fd)
        try:
            object_pin(link_fd, str(pin))
        finally:
            os.close(link_fd)
    finally:
        os.close(program_fd)


def attach_sk_msg(programs: Path, maps: Path) -> None:
    """Attach the sk_msg program to the sockhash, in place of the one before; sockets keep theirs.

    Raises:
        AttachError: the kernel refused.
    """
    try:
        program_fd = object_get(str(programs / SK_MSG_PROGRAM))
        map_fd = object_get(str(maps / SOCKHASH))
        try:
            program_attach(program_fd, map_fd, AttachType.SK_MSG_VERDICT)
        finally:
            os.close(program_fd)
            os.close(map_fd)
    except OSError as error:
        raise AttachError(f"{SK_MSG_PROGRAM} on the sockhash: {error.strerror}") from error


def attach(programs: Path, links: Path, wanted: tuple[Hook, ...]) -> None:
    """Make sure of the ``wanted`` links; existing ones get the new program in one step.

    Raises:
        AttachError: the kernel refused one, or a cgroup is not there; those before it stay.
    """
    links.mkdir(parents=True, exist_ok=True)
    for hook in wanted:
        try:
            _attach_hook(hook, programs, links)
        except OSError as error:
            raise AttachError(
                f"{hook.program} on cgroup {hook.cgroup} ({hook.attach_type.name}): "
                f"{error.strerror or error}"
            ) from error


def detach_others(links: Path, wanted: tuple[Hook, ...]) -> None:
    """Detach what an earlier version attached and this one does not."""
    for pin in links.iterdir():
        if pin.name not in {hook.name for hook in wanted}:
            pin.unlink()


def _removal_order(pin: Path) -> tuple[bool, bool, str]:
    return "connect" not in pin.name, pin.name != "pods-ingress", pin.name


def uninstall(root: Path) -> list[str]:
    """Detach every program and unpin every map below ``root``; returns what was removed.

    Connections that are captured already keep running through the proxy. Accelerated ones keep
    their socket hooks until they close, but the caller has switched acceleration off in the
    configuration map, so they use TCP.
    """
    if not root.is_dir():
        return []
    removed = []
    links = root / "links"
    # Capture first, so that no new connection is sent to a proxy that can no longer be told
    # where it was meant to go; then the judging of connections, before what it goes by.
    for pin in sorted(links.iterdir(), key=_removal_order) if links.is_dir() else ():
        pin.unlink()
        removed.append(f"link {pin.name}")
    for directory in sorted(root.iterdir()):
        for pin in sorted(directory.iterdir()):
            pin.unlink()
            removed.append(f"{directory.name}/{pin.name}")
    shutil.rmtree(root, ignore_errors=True)
    return removed
