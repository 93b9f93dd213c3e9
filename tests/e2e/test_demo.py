from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from culvert.embedded.demo.background import owner, take_down
from culvert.embedded.mesh_node import BPFFS
from culvert.rig import leftovers

pytestmark = pytest.mark.kernel

EXAMPLES = Path(__file__).parents[2] / "examples" / "shop"
# Not the id that a demo has by itself: one that somebody left up goes on.
RIG_ID = f"t{secrets.token_hex(4)}"
DEMO = (sys.executable, "-m", "culvert", "demo", "--rig", RIG_ID)


@pytest.fixture(autouse=True)
def no_demo_stays() -> Iterator[None]:
    take_down(RIG_ID)
    yield
    take_down(RIG_ID)


def nothing_is_left() -> bool:
    return leftovers(RIG_ID) == [] and not list(BPFFS.glob(f"culvert-{RIG_ID}-*"))


def test_demo_shows_envoy_and_sockmap_on_both_nodes_and_fails_no_request() -> None:
    done = subprocess.run(
        [*DEMO, "--seconds", "12", "-o", "json"], capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    document = json.loads(done.stdout)
    assert document["failures"] == 0
    assert document["shortcomings"] == []
    assert {client["service"] for client in document["reading"]["clients"]} == {
        "web",
        "prices",
        "ledger",
    }
    for node in document["reading"]["nodes"]:
        assert node["envoy"]["requests"] > 0
        assert node["kernel"]["captured"] > 0
        assert node["kernel"]["sockmap_bytes"] > 0
        assert node["envoy"]["tls_streams"] > node["envoy"]["tls_connections"] > 0
    [stranger] = [one for one in document["reading"]["clients"] if one["is_refused"]]
    assert stranger["failures"] > 0
    assert stranger["requests"] == 0
    assert nothing_is_left()


def start_demo(until: bytes) -> subprocess.Popen[bytes]:
    """A demo that has just printed a line with these words."""
    demo = subprocess.Popen([*DEMO, "--plain"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert demo.stdout is not None
    for line in demo.stdout:
        if until in line:
            break
    return demo


@pytest.mark.parametrize(
    ("number", "times", "moment"),
    [
        pytest.param(signal.SIGINT, 1, b"scaled", id="ctrl-c-under-load"),
        pytest.param(signal.SIGINT, 3, b"2 nodes", id="impatient-ctrl-c-while-starting"),
        pytest.param(signal.SIGTERM, 1, b"2 nodes", id="sigterm-while-starting"),
    ],
)
def test_demo_that_is_interrupted_leaves_nothing(
    number: signal.Signals, times: int, moment: bytes
) -> None:
    demo = start_demo(moment)
    for _ in range(times):
        demo.send_signal(number)
        time.sleep(0.3)
    out, _ = demo.communicate(timeout=60)
    assert demo.returncode != 0
    assert b"Traceback" not in out, out.decode()
    assert nothing_is_left()


def test_kept_demo_tells_of_failed_requests_and_goes_on_until_it_is_taken_down(
    tmp_path: Path,
) -> None:
    for path in EXAMPLES.iterdir():
        text = path.read_text().replace("/bytes/1024", "/status/503")
        (tmp_path / path.name).write_text(text)
    kept = subprocess.run(
        [*DEMO, "--keep", "--folder", str(tmp_path), "--seconds", "5", "-o", "json"],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert kept.returncode == 1, kept.stderr.decode()
    shortcomings = json.loads(kept.stdout)["shortcomings"]
    assert any("shopper-a" in one and "503" in one for one in shortcomings)
    assert owner(RIG_ID) is not None
    second = subprocess.run([*DEMO, "--plain"], capture_output=True, timeout=30, check=False)
    assert second.returncode == 3
    assert b"a demo is up already" in second.stdout
    status = subprocess.run(
        [sys.executable, "-m", "culvert", "status", "-o", "json"], capture_output=True, check=False
    )
    assert {one["node"] for one in json.loads(status.stdout)} >= {"node-a", "node-b"}
    subprocess.run([*DEMO, "--down"], check=True, capture_output=True, timeout=60)
    assert owner(RIG_ID) is None
    assert nothing_is_left()


def test_killed_demo_is_swept_by_down() -> None:
    demo = start_demo(b"BPF compiled and attached")
    demo.kill()
    demo.communicate()
    subprocess.run([*DEMO, "--down"], check=True, capture_output=True, timeout=60)
    assert nothing_is_left()


def test_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--folder", str(tmp_path / "nowhere")], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 3
    assert b"is no folder" in done.stdout
    assert b"Traceback" not in done.stdout + done.stderr


def test_machine_without_bpffs_is_told_in_one_line() -> None:
    hide = 'umount -l /sys/fs/bpf && mount -t tmpfs none /sys/fs/bpf && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", hide, "sh", *DEMO, "--plain"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert b"mount -t bpf" in done.stdout
    assert b"Traceback" not in done.stdout + done.stderr
    assert nothing_is_left()
