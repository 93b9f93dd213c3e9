"""What a rig leaves on disk so that a later process can clean up after it.

``<run directory>/<rig id>/state.json`` is written before anything else is made and removed after
everything else is gone.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from culvert.rig.process import own_start_time_ticks, start_time_ticks

RUN_DIRECTORY = Path("/run/culvert/rigs")
_STATE_FILE = "state.json"


@dataclass(frozen=True, slots=True)
class RigState:
    """Who owns a rig, and where its cgroups are.

    ``owner_start_ticks`` tells the owner from a later process with the same pid.
    """

    rig_id: str
    owner_pid: int
    owner_start_ticks: int
    cgroup_mount: Path

    def owner_alive(self) -> bool:
        """Tell whether the process that made the rig still runs."""
        return start_time_ticks(self.owner_pid) == self.owner_start_ticks


def own_state(rig_id: str, cgroup_mount: Path) -> RigState:
    """Return the state of a rig owned by this process."""
    return RigState(rig_id, os.getpid(), own_start_time_ticks(), cgroup_mount)


def write_state(state: RigState, run_directory: Path = RUN_DIRECTORY) -> Path:
    """Record a rig and return its directory.

    Raises:
        FileExistsError: a rig of this id exists, perhaps a dead one that was not swept.
    """
    directory = run_directory / state.rig_id
    directory.mkdir(parents=True, mode=0o755)
    document = {
        "owner_pid": state.owner_pid,
        "owner_start_ticks": state.owner_start_ticks,
        "cgroup_mount": str(state.cgroup_mount),
    }
    partial = directory / f".{_STATE_FILE}"
    partial.write_text(json.dumps(document))
    partial.rename(directory / _STATE_FILE)
    return directory


def read_state(rig_id: str, run_directory: Path = RUN_DIRECTORY) -> RigState | None:
    """Read what is recorded of a rig; None when nothing readable is."""
    try:
        document = json.loads((run_directory / rig_id / _STATE_FILE).read_text())
        return RigState(
            rig_id,
            int(document["owner_pid"]),
            int(document["owner_start_ticks"]),
            Path(document["cgroup_mount"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def recorded_rigs(run_directory: Path = RUN_DIRECTORY) -> list[str]:
    """List the ids of all rigs that have a directory, sorted."""
    try:
        return sorted(p.name for p in run_directory.iterdir() if p.is_dir())
    except FileNotFoundError:
        return []
