"""Say what earlier runs left on this machine, and fail if it is anything.

Rigs whose owner still runs are somebody's running demo or tests, and are left out. Prints nothing
when all is clean, so that pytest's summary stays the last line.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from culvert.rig import leftovers
from culvert.rig.state import read_state, recorded_rigs

BPFFS = Path("/sys/fs/bpf")


def leftovers_of_ended_rigs() -> set[str]:
    """Things of rigs whose owner is gone, one line of text each."""
    before = set(leftovers(None))
    for rig_id in recorded_rigs():
        state = read_state(rig_id)
        if state is not None and state.owner_alive():
            before -= set(leftovers(rig_id))
    # What a rig that ended just now has removed since is no leftover.
    return before & set(leftovers(None))


def pins_of_ended_processes() -> set[str]:
    """Scratch folders in bpffs, named after the process that made them, which is gone."""
    found = set()
    for path in BPFFS.rglob("*-[0-9]*"):
        match = re.fullmatch(r"(?:lint|selftest|programs)-(\d+)", path.name)
        if match and not Path("/proc", match[1]).exists():
            found.add(f"BPF pins {path}")
    return found


def main() -> int:
    """Command line."""
    found = sorted(leftovers_of_ended_rigs() | pins_of_ended_processes())
    if not found:
        return 0
    print("Left behind by runs that have ended:", file=sys.stderr)
    for line in found:
        print(f"  ✗ {line}", file=sys.stderr)
    print("  → make clean", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
