"""Containers start when the network says so, as after a CNI plugin's ADD."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml
from culvert.rig import Pod, Rig, leftovers
from culvert.rig.cluster import Cluster
from culvert.rig.kubelet import KubeletSettings
from culvert.rig.pod_status import ContainerPhase

pytestmark = pytest.mark.kernel

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "gated"},
    "spec": {"containers": [{"name": "main", "command": ["sleep", "600"]}]},
}


class Gate:
    """Holds pods back until it is opened."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, pod: Pod) -> None:
        self.asked.set()
        await self.opened.wait()


async def play(rig: Rig, folder: Path, *, opens: bool) -> None:
    manifests, observed = folder / "manifests", folder / "observed"
    manifests.mkdir()
    observed.mkdir()
    (manifests / "pod.yaml").write_text(yaml.safe_dump(POD))
    gate = Gate()
    settings = KubeletSettings(network_ready=gate, terminating_notice_seconds=0.0)
    cluster = Cluster(rig, manifests, observed, settings=settings)
    running = asyncio.create_task(cluster.run())
    try:
        async with asyncio.timeout(60):
            await gate.asked.wait()
            (status,) = cluster.pods
            assert [one.phase for one in status.containers] == [ContainerPhase.WAITING]
            if opens:
                gate.opened.set()
                await cluster.wait_settled()
                assert cluster.pods[0].ready
            else:
                (manifests / "pod.yaml").unlink()
                await cluster.wait_settled()
                assert cluster.pods == []
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("opens", [True, False], ids=["starts-after", "can-be-deleted-before"])
def test_pod_waits_for_its_network(tmp_path: Path, *, opens: bool) -> None:
    with Rig() as rig:
        asyncio.run(play(rig, tmp_path, opens=opens))
    assert leftovers(rig.rig_id) == []
