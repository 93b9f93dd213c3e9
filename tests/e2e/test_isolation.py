"""One proxy for all pods of a node: nobody is ever taken for anybody else.

Fifty pods of twenty service accounts call through one node's proxy, the same and different pods of
both nodes, on kept and on new connections, while certificates are renewed every few seconds, and
pods are deleted and their addresses given to pods of other accounts at once. Servers let each
account in at paths and at a port of its own, so each answer says who the caller was taken for.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from culvert.embedded.mesh_node import MeshOptions

from tests.e2e.isolation_server import ACCOUNT_PORT, HTTP_PORT
from tests.e2e.town import Town, eventually

pytestmark = pytest.mark.kernel

ACCOUNTS, PODS = 20, 50
CERTIFICATE_LIFETIME = "15s"
PAUSE_SECONDS = 0.7
STALLED_SECONDS = 60.0
REPLACED = 10
ANSWERED = {"requests", "bytes", "let in", "refused"}
FAILED_SHARE = 0.002
"""Calls without any answer, of all: those whose caller's or server's connection was being ended."""


class Crowd:
    """The clients on node-a, and the servers on both nodes."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.accounts: dict[str, int] = {}
        self.made = 0
        self.logs = town.rig.directory / "crowd"
        self.logs.mkdir()
        self.places: list[tuple[str, int]] = []
        self.hosts: list[str] = []

    def build(self) -> None:
        town = self.town
        for end in ("a", "b"):
            pod = town.pod(f"node-{end}", f"server-{end}", account="server", labels={"app": "s"})
            pod.start([sys.executable, "-m", "tests.e2e.isolation_server", str(ACCOUNTS)])
            self.places += [(pod.ipv4, HTTP_PORT), (pod.ipv6, HTTP_PORT)]
            self.hosts += [pod.ipv4, pod.ipv6]
        town.service("web", "10.96.0.10", ["server-a", "server-b"])
        town.service("web6", "fd00:10:96::10", ["server-a", "server-b"])
        self.places += [("10.96.0.10", 80), ("fd00:10:96::10", 80)]
        town.write("policy", who_may_call_what())
        town.mesh.start()
        town.settle()
        for index in range(PODS):
            self.add(index % ACCOUNTS)

    def add(self, account: int, number: int | None = None) -> None:
        """A pod that calls; with the ``number`` of one that is gone it has its addresses."""
        self.made += 1
        name = f"caller-{self.made}"
        pod = self.town.pod("node-a", name, account=f"account-{account}", number=number)
        self.accounts[name] = account
        node = self.town.mesh.nodes["node-a"]
        eventually(lambda: pod.cgroup_id in node.status().captured_cgroup_ids, f"{name} captured")
        told = {
            "account": account,
            "accounts": ACCOUNTS,
            "places": self.places,
            "hosts": self.hosts,
        }
        with (self.logs / name).open("wb") as log:
            argv = [sys.executable, "-m", "tests.e2e.isolation_client", json.dumps(told)]
            pod.start(argv, stdout=log, stderr=log, env=environment())

    def replace_one(self) -> None:
        """Delete a pod, and give its addresses to one of another account before anybody knows."""
        name = random.choice(list(self.accounts))
        account = self.accounts.pop(name)
        pod = self.town.pods.pop(name)
        self.town.rig.nodes["node-a"].remove_pod(pod.uid)
        others = [one for one in range(ACCOUNTS) if one != account]
        self.add(random.choice(others), pod.number)
        self.town.remove(f"pod-{name}")

    def told(self) -> tuple[Counter[str], list[str]]:
        """What all that ever called have counted, and what was wrong."""
        counts: Counter[str] = Counter()
        wrong: list[str] = []
        for log in self.logs.iterdir():
            line = last_line(log)
            counts.update(line.get("counts", {}))
            wrong += line.get("wrong", [])
        return counts, wrong


def environment() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(filter(None, sys.path))}


def last_line(log: Path) -> dict[str, Any]:
    """The last line that is whole; what a client that failed says is raised."""
    found: dict[str, Any] = {}
    for text in log.read_text().splitlines():
        assert text.startswith("{"), log.read_text()[-2000:]
        try:
            found = json.loads(text)
        except json.JSONDecodeError:
            break
    return found


def who_may_call_what() -> dict[str, Any]:
    return {
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "each-its-own", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "s"}},
            "rules": [
                {
                    "from": [
                        {"source": {"principals": [f"cluster.local/ns/default/sa/account-{one}"]}}
                    ],
                    "to": [
                        {"operation": {"ports": [HTTP_PORT], "paths": [f"/{one}/*"]}},
                        {"operation": {"ports": [ACCOUNT_PORT + one]}},
                    ],
                }
                for one in range(ACCOUNTS)
            ],
        },
    }


def hold_isolation(town: Town, wanted_calls: int) -> None:
    """Let them call so often, and change pods meanwhile; fails if one was taken for another."""
    crowd = Crowd(town)
    crowd.build()
    node = town.mesh.nodes["node-a"]
    counts, last_calls, last_seconds = Counter[str](), 0, time.monotonic()
    while True:
        crowd.replace_one()
        time.sleep(PAUSE_SECONDS)
        counts, wrong = crowd.told()
        assert wrong == []
        calls = counts["requests"] + counts["bytes"]
        identities = node.status().identities
        assert identities is not None
        renewed = identities.issued_total - ACCOUNTS
        if calls > last_calls:
            last_calls, last_seconds = calls, time.monotonic()
        assert time.monotonic() < last_seconds + STALLED_SECONDS, counts
        if calls >= wanted_calls and crowd.made >= PODS + REPLACED and renewed >= ACCOUNTS:
            break
    print(f"\n{calls} calls of {crowd.made} pods, {renewed} certificates renewed: {dict(counts)}")
    failed = sum(count for what, count in counts.items() if what not in ANSWERED)
    assert failed <= FAILED_SHARE * calls, counts
    assert counts["let in"] + counts["refused"] == calls
    assert min(counts["let in"], counts["refused"]) > calls / 10


def make(make_town: Callable[[MeshOptions], Town]) -> Town:
    return make_town(
        MeshOptions(identity=True, concurrency=2, certificate_lifetime=CERTIFICATE_LIFETIME)
    )


def test_nobody_is_taken_for_anybody_else(make_town: Callable[[MeshOptions], Town]) -> None:
    hold_isolation(make(make_town), 40_000)


@pytest.mark.long
def test_in_a_million_calls_nobody_is_taken_for_anybody_else(
    make_town: Callable[[MeshOptions], Town],
) -> None:
    hold_isolation(make(make_town), 1_000_000)
