"""The demonstration on a real API server, with the charts."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys

import pytest
from culvert.embedded.demo.background import take_down
from culvert.embedded.mesh_node import BPFFS
from culvert.rig import leftovers

pytestmark = pytest.mark.kernel


def test_demo_on_an_api_server_fails_no_request_and_leaves_nothing() -> None:
    rig_id = f"k{secrets.token_hex(4)}"
    argv = [sys.executable, "-m", "culvert", "demo", "--kube", "--rig", rig_id]
    try:
        done = subprocess.run(
            [*argv, "--seconds", "15", "-o", "json"], capture_output=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr.decode()[-4000:]
        document = json.loads(done.stdout)
        assert document["shortcomings"] == []
        for node in document["reading"]["nodes"]:
            assert node["envoy"]["requests"] > 0
            assert node["kernel"]["sockmap_bytes"] > 0
        assert any(node["envoy"]["tls_streams"] for node in document["reading"]["nodes"])
        refused = [one for one in document["reading"]["clients"] if one["is_refused"]]
        assert refused
        assert all(one["requests"] == 0 < one["failures"] for one in refused)
        assert leftovers(rig_id) == []
        assert not list(BPFFS.glob(f"culvert-{rig_id}-*"))
    finally:
        take_down(rig_id)
