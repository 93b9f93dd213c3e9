"""``kubectl exec`` and ``kubectl logs`` on pods that the rig's nodes run."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.control_plane.binaries import find_program
from culvert.embedded.kube_cluster import KubeCluster, kube_cluster
from culvert.rig import Rig

from tests.kube.cluster import LIMIT_SECONDS, Document, Town, eventually

pytestmark = [pytest.mark.kernel, pytest.mark.asyncio(loop_scope="module")]

CHATTER = "for word in one two three; do echo $word; done; echo four >&2; exec sleep infinity"


def pod(name: str, *words: str, image: str = "local", **container: object) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": image, "command": words, **container}],
        },
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(control_plane: ControlPlane) -> AsyncIterator[KubeCluster]:
    with Rig() as rig:
        async with kube_cluster(rig, control_plane, labels={"node-a": {}}) as running:
            yield running


@pytest_asyncio.fixture(loop_scope="module")
async def town(cluster: KubeCluster, namespace: str) -> Town:
    town = Town(cluster, namespace)
    await town.apply(pod("talker", "sh", "-c", CHATTER))
    await town.pods_are("app=talker", 1)
    return town


def exec_argv(town: Town) -> list[str]:
    program, kubeconfig = str(find_program("kubectl")), str(town.cluster.plane.kubeconfig)
    return [program, "--kubeconfig", kubeconfig, "--namespace", town.namespace, "exec"]


async def run(argv: Sequence[str], stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """As it is: the caller looks at what came of it."""
    return await asyncio.to_thread(
        lambda: subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    )


async def exec_in(
    town: Town, *words: str, stdin: str | None = None, name: str = "talker"
) -> subprocess.CompletedProcess[str]:
    options = ["--stdin"] if stdin is not None else []
    return await run([*exec_argv(town), *options, name, "--", *words], stdin)


async def eventually_logs(town: Town, words: str, *arguments: str) -> None:
    """Wait until the log holds just these words."""
    log = [*exec_argv(town)[:-1], "logs", *arguments]

    def holds() -> bool:
        done = subprocess.run(log, capture_output=True, text=True, check=False)
        return done.stdout.split() == words.split()

    await eventually(holds, f"logs {arguments} to be {words}")


async def test_exec_runs_in_the_pod_and_passes_streams_and_exit_code(town: Town) -> None:
    script = "cat; echo problem >&2; cat /proc/self/cgroup >&2; ip -brief -4 address; exit 3"
    done = await exec_in(town, "sh", "-c", script, stdin="from the client\n")
    address = town.cluster.pod(town.namespace, "talker").ipv4
    assert done.stdout.startswith("from the client\n")
    assert address in done.stdout
    assert done.stderr.startswith("problem\n")
    uid = town.cluster.pod(town.namespace, "talker").uid
    assert f"pod{uid}/main" in done.stderr
    assert done.returncode == 3


async def test_exec_carries_more_than_any_buffer_holds(town: Town) -> None:
    megabytes = "0123456789abcde\n" * (1 << 18)
    done = await exec_in(town, "cat", stdin=megabytes)
    assert done.returncode == 0, done.stderr
    assert done.stdout == megabytes


async def test_exec_in_a_terminal_has_its_size_and_its_signals(town: Town) -> None:
    script = "stty size; trap 'echo caught; exit 5' INT; echo ready; sleep 60 & wait"
    near, far = pty.openpty()
    fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    words = ["--stdin", "--tty", "talker", "--", "sh", "-c", script]
    running = await asyncio.create_subprocess_exec(
        "setsid", "--ctty", "--wait", *exec_argv(town), *words, stdin=far, stdout=far, stderr=far
    )
    os.close(far)

    def until(word: bytes) -> bytes:
        seen = b""
        while word not in seen:
            seen += os.read(near, 4096)
        return seen

    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            assert b"33 77" in await asyncio.to_thread(until, b"ready")
            os.write(near, b"\x03")
            await asyncio.to_thread(until, b"caught")
            assert await running.wait() == 5
    finally:
        if running.returncode is None:
            running.kill()
        os.close(near)


async def test_exec_ends_with_the_client_that_asked_for_it(town: Town) -> None:
    words = ["talker", "--", "sh", "-c", "echo $$; sleep 1000"]
    running = await asyncio.create_subprocess_exec(
        *exec_argv(town), *words, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert running.stdout is not None
        program = Path("/proc", (await running.stdout.readline()).decode().strip())
        assert await asyncio.to_thread(program.exists)
    finally:
        running.kill()
        await running.wait()
    await eventually(lambda: not program.exists(), "the program's end")


async def test_exec_sees_the_files_and_the_user_of_its_container(town: Town) -> None:
    stand_in = pod(
        "guest",
        "sleep",
        "infinity",
        image="example.com/culvert/controller:1",
        securityContext={"runAsUser": 65532, "runAsGroup": 65532},
        env=[{"name": "COLOUR", "value": "green"}],
    )
    await town.apply(stand_in)
    await town.pods_are("app=guest", 1)
    done = await exec_in(town, "sh", "-c", "id -u; echo $COLOUR; ls /home", name="guest")
    assert done.stdout.split()[:2] == ["65532", "green"], done.stderr


async def test_exec_of_what_is_not_there_says_so(town: Town) -> None:
    missing = await exec_in(town, "no-such-program")
    assert missing.returncode in (126, 127), missing.stderr
    key = {"secretKeyRef": {"name": "missing", "key": "k"}}
    image = "example.com/culvert/controller:1"
    env = [{"name": "KEY", "valueFrom": key}]
    await town.apply(pod("waiting", "sleep", "infinity", image=image, env=env))
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    await town.kubectl("wait", "pod/waiting", f"--for=jsonpath={reason}=CreateContainerConfigError")
    waiting = await exec_in(town, "true", name="waiting")
    assert waiting.returncode != 0
    assert "container main does not run: CreateContainerConfigError" in waiting.stderr


async def test_logs_are_the_part_that_was_asked_for(town: Town) -> None:
    await eventually_logs(town, "one two three four", "talker")
    assert (await town.kubectl("logs", "talker", "--tail=2")).split() == ["three", "four"]
    assert await town.kubectl("logs", "talker", "--limit-bytes=5") == "one\nt"
    refused = await asyncio.to_thread(
        town.cluster.plane.kubectl,
        *("--namespace", town.namespace, "logs", "talker", "--timestamps"),
    )
    assert "keep no times" in refused.stderr


async def test_logs_of_each_run_are_apart_and_followed_to_its_end(town: Town) -> None:
    marker = town.cluster.rig.directory / town.namespace
    script = (
        f"if [ -e {marker} ]; then echo second; sleep 1; echo end; "
        f"else echo first; touch {marker}; false; fi"
    )
    again = pod("again", "sh", "-c", script)
    again["spec"]["restartPolicy"] = "OnFailure"
    await town.apply(again)
    await eventually_logs(town, "first", "again", "--previous")
    assert (await town.kubectl("logs", "again", "--follow")).split() == ["second", "end"]


async def test_kubelet_answers_to_its_api_server_alone(town: Town) -> None:
    node = next(node for node in await town.get("nodes") if node["metadata"]["name"] == "node-a")
    port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    plane = town.cluster.plane
    url = f"https://localhost:{port}/containerLogs/{town.namespace}/talker/main"
    curl = ["curl", "--silent", "--cacert", str(plane.ca_path), "--write-out", "%{http_code}"]
    user = yaml.safe_load(plane.kubeconfig.read_text())["users"][0]["user"]
    nobody = await run([*curl, url])
    assert nobody.stdout.endswith("000"), "no connection without a certificate"
    pair = ["--cert", user["client-certificate"], "--key", user["client-key"]]
    someone = await run([*curl, *pair, url])
    assert someone.stdout.endswith("403"), someone.stdout
