"""A town with policies, for the tests of attacks, and what those who run it would look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from culvert.embedded.mesh_node import BPFFS, MeshOptions
from culvert.rig import Rig, leftovers

from tests.e2e.town import SERVER_PORT, Town

ALLOWED_PATH = "/open"


@contextmanager
def besieged_town(state: Path) -> Iterator[Town]:
    """On each node a server for bytes and one for HTTP, their client, another, and a stranger.

    The account ``client`` may connect to ``line``, and ask ``web`` for ``/open``; ``other`` may
    nothing. A pod ``stranger-…`` is not in the mesh. ``state`` is where the authority keeps its
    keys.
    """
    with Rig() as rig:
        town = Town(rig, MeshOptions(identity=True, authority_state=state))
        with town.mesh:
            _build(town)
            yield town
    assert leftovers(rig.rig_id) == []
    assert list(BPFFS.glob(f"culvert-{rig.rig_id}-*")) == []


def _build(town: Town) -> None:
    port = str(SERVER_PORT)
    for node in ("node-a", "node-b"):
        end = node[-1]
        town.pod(node, f"web-{end}", "http_echo", "--port", port, account="web")
        town.pod(node, f"line-{end}", "tcp_greeter", "--port", port, account="line")
        town.pod(node, f"client-{end}", account="client")
        town.pod(node, f"other-{end}", account="other")
        town.pods[f"stranger-{end}"] = town.rig.nodes[node].add_pod(f"stranger-{end}")
        for kind in ("web", "line"):
            town.label(f"{kind}-{end}", app=kind)
    town.service("web", "10.96.0.10", ["web-a", "web-b"])
    town.service("line", "10.96.0.12", ["line-a", "line-b"], protocol="tcp")
    allowed = {"from": [{"source": {"principals": ["cluster.local/ns/default/sa/client"]}}]}
    town.write("policy-line", policy("line", "line", [allowed]))
    to_open = {**allowed, "to": [{"operation": {"methods": ["GET"], "paths": [ALLOWED_PATH]}}]}
    town.write("policy-web", policy("web", "web", [to_open]))
    town.mesh.start()
    town.settle()


def policy(
    name: str, app: str, rules: list[Any], *, action: str = "ALLOW", namespace: str = "default"
) -> dict[str, Any]:
    """An AuthorizationPolicy for the pods of a label."""
    return {
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": app}}, "action": action, "rules": rules},
    }


def log_lines(town: Town, node: str, verdict: str, of: str) -> list[dict[str, Any]]:
    """What the proxy of a node has written of what it refused; it writes every ten seconds."""
    lines = town.log(node, "envoy").read_text(errors="replace").splitlines()
    found = (json.loads(line) for line in lines if line.startswith("{"))
    return [line for line in found if line.get(verdict) == of]
