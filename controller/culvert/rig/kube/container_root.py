"""The files of a container: this machine's below, its own writes and volumes above; pure.

No image is unpacked. A container has a mount namespace of its own, in which an overlay of this
machine's root takes the root's place: what it writes stays in a tmpfs of its own and is gone with
its last process, as is every mount. See mount_namespaces(7), pivot_root(2), and the kernel's
Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from culvert.rig.kube.privileges import Privileges

_TOOLS = "/usr/sbin:/usr/bin:/sbin:/bin"

_ROOT = """\
set -e
path=$PATH; PATH={tools}; export PATH
mount -t tmpfs -o mode=755 none {base}
cd {base}
mkdir upper work root
mount -t overlay none -o lowerdir=/,upperdir={base}/upper,workdir={base}/work root
cd root
mount --rbind /proc proc
mount --rbind /dev dev
mount -t sysfs none sys
mount -t tmpfs -o mode=755 none run
mount -t tmpfs -o mode=1777 none tmp
mkdir -p run/.machine
pivot_root . run/.machine
cd /
"""

_END = """\
umount -l /run/.machine
rmdir /run/.machine
"""


@dataclass(frozen=True, slots=True)
class Mount:
    """``source``, a folder or file of this machine, at ``target`` in a container."""

    source: Path
    target: str
    read_only: bool = False


def root_script(
    base: Path, mounts: Sequence[Mount], privileges: Privileges, working_directory: str
) -> str:
    """Return a shell script that makes a container's root and then becomes its arguments.

    ``base`` is an empty folder. The script is to be run as root, in a new mount namespace whose
    mounts are private, with the container's environment.
    """
    lines = [_ROOT.format(tools=_TOOLS, base=shlex.quote(str(base)))]
    lines.append(_passable(mounts))
    lines += [_mount_lines(mount) for mount in sorted(mounts, key=lambda m: m.target)]
    lines.append(_END)
    if privileges.read_only_root:
        volumes = {mount.target for mount in mounts}
        own = [path for path in ("/run", "/tmp", "/") if path not in volumes]
        lines += [f"mount -o remount,ro {path}\n" for path in own]
    directory = shlex.quote(working_directory)
    lines.append(f"mkdir -p {directory} 2>/dev/null || :\ncd {directory}\n")
    lines.append("PATH=$path; export PATH\n")
    lines.append(f'exec /usr/bin/{shlex.join(privileges.setpriv())} -- "$@"\n')
    return "".join(lines)


def launch_command(script: str, argv: Sequence[str]) -> list[str]:
    """Return the command that runs ``argv`` by a ``root_script``."""
    return ["unshare", "--mount", "--", "/bin/sh", "-c", script, "culvert-container", *argv]


def beside_command(
    main_pid: int, privileges: Privileges, working_directory: str, argv: Sequence[str]
) -> list[str]:
    """Return the command that runs ``argv`` among the files of a container that runs."""
    script = f'cd {shlex.quote(working_directory)} && exec "$@"'
    return [
        "nsenter",
        f"--mount=/proc/{main_pid}/ns/mnt",
        "--",
        "/bin/sh",
        "-c",
        script,
        "culvert-exec",
        *privileges.setpriv(),
        "--",
        *argv,
    ]


def _passable(mounts: Sequence[Mount]) -> str:
    """Let users other than root reach what is mounted: in the overlay, not on this machine."""
    folders = {parent for mount in mounts for parent in Path(mount.target).parents}
    there = [shlex.quote(str(folder)) for folder in sorted(folders)]
    return f"for d in {' '.join(there)}; do [ ! -d $d ] || chmod a+x $d; done\n" if there else ""


def _mount_lines(mount: Mount) -> str:
    source = shlex.quote(f"/run/.machine{mount.source}")
    target = shlex.quote(mount.target)
    make = (
        f"if [ -d {source} ]; then mkdir -p {target}; "
        f"else mkdir -p {shlex.quote(str(Path(mount.target).parent))}; "
        f"[ -e {target} ] || : >{target}; fi\n"
    )
    lines = f"{make}mount --rbind {source} {target}\n"
    if mount.read_only:
        lines += f"mount -o remount,bind,ro {target}\n"
    return lines
