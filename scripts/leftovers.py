"""Say what earlier runs left on this machine, and fail if it is anything; or remove it.

Rigs whose owner still runs are somebody's running demo or tests, and are left out. Prints nothing
when all is clean, so that pytest's summary stays the last line.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

from culvert.embedded.mesh import orphaned_pins, sweep_pins
from culvert.rig.state import read_state, recorded_rigs
from culvert.rig.sweeping import leftovers, sweep

BPFFS = Path("/sys/fs/bpf")


def running_rigs() -> frozenset[str]:
    """Ids of the rigs whose owner still runs."""
    states = (read_state(rig_id) for rig_id in recorded_rigs())
    return frozenset(state.rig_id for state in states if state and state.owner_alive())


def leftovers_of_ended_rigs() -> set[str]:
    """Things of rigs whose owner is gone, one line of text each."""
    found = set(leftovers(None))
    for rig_id in running_rigs():
        found -= set(leftovers(rig_id))
    # What a rig that ended just now has removed since is no leftover.
    return found & set(leftovers(None))


def pins_of_ended_rigs() -> set[str]:
    """What a mesh on such a rig left in bpffs."""
    found = orphaned_pins(running_rigs())
    return {f"BPF pins {path}" for path in found if path.exists()}


def pins_of_ended_processes() -> list[Path]:
    """Scratch folders in bpffs, named after the process that made them, which is gone."""
    found = []
    for path in BPFFS.rglob("*-[0-9]*"):
        match = re.fullmatch(r"(?:lint|selftest|programs)-(\d+)", path.name)
        if match and not Path("/proc", match[1]).exists():
            found.append(path)
    return found


def ended_rigs() -> set[str]:
    """Ids of the rigs that the leftovers belong to."""
    found = re.findall(r"\b(?:cv|culvert)-([0-9a-z]+)\b", "\n".join(leftovers_of_ended_rigs()))
    return set(found) | (set(recorded_rigs()) - running_rigs())


def remove() -> None:
    """Remove what ``main`` would list, also rigs of which no record is left."""
    for path in pins_of_ended_processes():
        shutil.rmtree(path)
    sweep_pins(running_rigs())
    for rig_id in ended_rigs():
        sweep(rig_id)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--remove", action="store_true", help="remove it first")
    if parser.parse_args().remove:
        remove()
    found = sorted(
        leftovers_of_ended_rigs()
        | pins_of_ended_rigs()
        | {f"BPF pins {path}" for path in pins_of_ended_processes()}
    )
    if not found:
        return 0
    print("Left behind by runs that have ended:", file=sys.stderr)
    for line in found:
        print(f"  ✗ {line}", file=sys.stderr)
    print("  → make clean", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
