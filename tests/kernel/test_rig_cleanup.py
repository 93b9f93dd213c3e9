"""However the owner of a rig ends, nothing of the rig stays."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex

import pytest
from culvert.rig import Rig, leftovers, sweep, sweep_dead
from culvert.rig.state import RigState, write_state

pytestmark = pytest.mark.kernel

OWNER = """
import sys, time
from pathlib import Path
from culvert.rig import Rig

with Rig(rig_id=sys.argv[1], run_directory=Path(sys.argv[2])) as rig:
    node = rig.add_node("node-a")
    pod = node.add_pod("client")
    pod.start(["sleep", "1000"])
    node.start(["sleep", "1000"], cgroup=node.proxy_cgroup)
    pod.socket()
    print("up", flush=True)
    {then}
"""


def unused_rig_id() -> str:
    """Return an id that no test running beside this one uses."""
    return f"t{token_hex(4)}"


class Owner:
    """A process of its own that owns a rig."""

    def __init__(self, run_directory: Path, then: str) -> None:
        self.rig_id = unused_rig_id()
        self.run_directory = run_directory
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER.format(then=then), self.rig_id, str(run_directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def await_up(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"up\n"

    def left(self) -> list[str]:
        return leftovers(self.rig_id, run_directory=self.run_directory)

    def wait(self) -> tuple[int, bytes]:
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err

    def remove(self) -> None:
        self.process.kill()
        self.process.wait()
        sweep(self.rig_id, run_directory=self.run_directory)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Callable[[str], Owner]]:
    """Start owners by what they do next; they are gone afterwards, and their rigs."""
    with ExitStack() as stack:

        def start(then: str) -> Owner:
            made = Owner(tmp_path, then)
            stack.callback(made.remove)
            made.await_up()
            return made

        yield start


def test_normal_end_leaves_nothing(owner: Callable[[str], Owner]) -> None:
    ended = owner("pass")
    assert ended.wait()[0] == 0
    assert ended.left() == []


def test_exception_leaves_nothing(owner: Callable[[str], Owner]) -> None:
    ended = owner("raise RuntimeError('on purpose')")
    status, err = ended.wait()
    assert status == 1
    assert b"on purpose" in err
    assert ended.left() == []


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + 15)]
)
def test_signal_leaves_nothing(
    owner: Callable[[str], Owner], number: signal.Signals, status: int
) -> None:
    running = owner("time.sleep(1000)")
    assert running.left() != []
    running.process.send_signal(number)
    assert running.wait()[0] == status
    assert running.left() == []


def test_exit_without_a_with_statement_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from culvert.rig import Rig\n"
        "Rig(rig_id=sys.argv[2], run_directory=Path(sys.argv[1])).add_node('n').add_pod('p')"
    )
    rig_id = unused_rig_id()
    try:
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), rig_id], check=True, timeout=60
        )
        assert leftovers(rig_id, run_directory=tmp_path) == []
    finally:
        sweep(rig_id, run_directory=tmp_path)


def test_sweep_removes_the_rig_of_a_killed_owner_and_no_other(
    owner: Callable[[str], Owner],
) -> None:
    killed = owner("time.sleep(1000)")
    living = owner("time.sleep(1000)")
    killed.process.kill()
    killed.process.wait()
    assert len(killed.left()) > 3
    assert sweep_dead(run_directory=killed.run_directory) == [killed.rig_id]
    assert killed.left() == []
    assert living.left() != []


async def test_rig_closes_on_an_event_loop(tmp_path: Path) -> None:
    with Rig(run_directory=tmp_path) as rig:
        rig.add_node("node-a").add_pod("client")
    assert leftovers(rig.rig_id, run_directory=tmp_path) == []


def test_sweep_can_be_repeated(tmp_path: Path) -> None:
    rig_id = unused_rig_id()
    sweep(rig_id, run_directory=tmp_path)
    sweep(rig_id, run_directory=tmp_path)


def test_owner_with_a_reused_pid_counts_as_dead(tmp_path: Path) -> None:
    rig_id = unused_rig_id()
    write_state(RigState(rig_id, 1, 0, Path("/nowhere")), tmp_path)
    assert sweep_dead(run_directory=tmp_path) == [rig_id]
    assert leftovers(rig_id, run_directory=tmp_path) == []


def test_second_rig_of_one_id_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    with Rig(run_directory=tmp_path) as rig:
        rig.add_node("node-a")
        with pytest.raises(FileExistsError):
            Rig(rig_id=rig.rig_id, run_directory=tmp_path)
        rig.add_node("node-b").add_pod("works")


@pytest.mark.parametrize("rig_id", ["", "a-b", "../x", "UPPER", "x" * 13])
def test_rig_id_that_cannot_name_kernel_objects_is_refused(rig_id: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rig id"):
        Rig(rig_id=rig_id, run_directory=tmp_path)
    assert list(tmp_path.iterdir()) == []
