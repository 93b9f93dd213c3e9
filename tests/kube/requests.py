"""Requests from pods of a cluster: one, or many all the while."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from culvert.rig import Pod

from tests.kube.cluster import LIMIT_SECONDS, Town, idle_pod


async def client_in(town: Town, name: str = "client", node: str = "node-a") -> Pod:
    """A pod that is up, in which programs can be started."""
    await town.apply(idle_pod(name, node=node))
    await town.pods_are(f"app={name}", 1)
    return town.cluster.pod(town.namespace, name)


async def address_of(town: Town, name: str = "web") -> str:
    """The cluster IP of a Service."""
    shown = await town.kubectl("get", "service", name, "--output=jsonpath={.spec.clusterIP}")
    return shown.strip()


async def fetch(pod: Pod, url: str) -> Any:
    """What the server saw of a request; None for any failure."""
    done = await _curl(pod, url)
    return json.loads(done.stdout) if done.returncode == 0 else None


async def serves(pod: Pod, url: str) -> None:
    """Wait for the first answer; a failure of the test says how the last request failed."""
    failure = ""
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            while (done := await _curl(pod, url)).returncode:
                failure = done.stderr
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"{url} never answered: {failure}") from None


async def _curl(pod: Pod, url: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(pod.run, ["curl", "-sSf", "-g", "--max-time", "10", url])


@asynccontextmanager
async def load(pod: Pod, url: str) -> AsyncIterator[dict[str, Any]]:
    """Requests all the while, on connections that are kept; the summary is there afterwards."""
    summary: dict[str, Any] = {}
    argv = [sys.executable, "-m", "culvert.rig.workloads.http_load", url]
    running = pod.start(
        [*argv, "--connections", "4", "--rate", "100"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield summary
    finally:
        running.terminate()
        out, _ = await asyncio.to_thread(running.communicate)
        summary.update(json.loads(out.splitlines()[-1]))
