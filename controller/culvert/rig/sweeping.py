"""Remove everything of a rig by its id alone, and tell what is left of one.

Nothing here needs the objects that made the rig, so the same path serves an ordinary exit, an
exception and the successor of a process that was killed.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from culvert.rig import cgroup, netns
from culvert.rig.addressing import CGROUP_PREFIX, NETNS_PREFIX, check_rig_id
from culvert.rig.links import POD_LINK_GROUP, netlink_errors, open_netlink
from culvert.rig.netlink_thread import run_off_loop
from culvert.rig.state import RUN_DIRECTORY, read_state, recorded_rigs


def sweep(rig_id: str, *, run_directory: Path = RUN_DIRECTORY) -> None:
    """End the rig's processes and remove its cgroups, namespaces, links and files.

    Can be repeated, and run after a sweep that was cut short.

    Raises:
        ValueError: ``rig_id`` is no rig id.
        OSError: the kernel refused, for instance for lack of rights.
    """
    check_rig_id(rig_id)
    cgroup.remove(_cgroup_mount(rig_id, run_directory) / f"{CGROUP_PREFIX}{rig_id}")
    run_off_loop(lambda: _remove_namespaces(rig_id))
    with suppress(FileNotFoundError):
        shutil.rmtree(run_directory / rig_id)


def sweep_dead(*, run_directory: Path = RUN_DIRECTORY) -> list[str]:
    """Sweep every rig whose owner is gone; return their ids."""
    swept = []
    for rig_id in recorded_rigs(run_directory):
        state = read_state(rig_id, run_directory)
        if state is None or state.owner_alive():
            continue
        sweep(rig_id, run_directory=run_directory)
        swept.append(rig_id)
    return swept


def leftovers(rig_id: str | None, *, run_directory: Path = RUN_DIRECTORY) -> list[str]:
    """List what still exists of a rig (None: of any rig), one line of text for each thing.

    Looks for named network namespaces, links in the caller's own namespace, cgroups, processes in
    them, and state files.
    """
    found = [f"network namespace {name}" for name in _netns_of(rig_id)]
    for directory in _cgroups_of(rig_id, run_directory):
        found.append(f"cgroup {directory}")
        found.extend(f"process {pid} in {directory}" for pid in cgroup.processes(directory))
    found.extend(f"interface {name}" for name in _rig_links())
    ids = recorded_rigs(run_directory) if rig_id is None else [rig_id]
    found.extend(f"state {run_directory / i}" for i in ids if (run_directory / i).exists())
    return found


def _cgroup_mount(rig_id: str, run_directory: Path) -> Path:
    state = read_state(rig_id, run_directory)
    return cgroup.find_mount() if state is None else state.cgroup_mount


def _remove_namespaces(rig_id: str) -> None:
    for name in _netns_of(rig_id):
        _remove_pod_links(netns.NETNS_DIRECTORY / name)
        netns.remove(name)


def _remove_pod_links(path: Path) -> None:
    """Remove a node's pod links at once.

    Freeing a namespace takes the kernel a while, and would take the links with it only then.
    """
    # Not a namespace, when making it was cut short; no links, in a pod's.
    with (
        suppress(OSError),
        netns.entered(path),
        netlink_errors("remove pod links"),
        open_netlink() as ipr,
    ):
        ipr.link("del", group=POD_LINK_GROUP)


def _netns_of(rig_id: str | None) -> list[str]:
    return netns.names(NETNS_PREFIX if rig_id is None else f"{NETNS_PREFIX}{rig_id}-")


def _cgroups_of(rig_id: str | None, run_directory: Path) -> list[Path]:
    if rig_id is not None:
        directory = _cgroup_mount(rig_id, run_directory) / f"{CGROUP_PREFIX}{rig_id}"
        return [directory] if directory.exists() else []
    return sorted(p for p in cgroup.find_mount().glob(f"{CGROUP_PREFIX}*") if p.is_dir())


def _rig_links() -> list[str]:
    """List links of the pods' group in the caller's namespace: a rig makes none there."""
    return sorted(
        group.parent.name
        for group in Path("/sys/class/net").glob("*/netdev_group")
        if group.read_text().strip() == str(POD_LINK_GROUP)
    )
