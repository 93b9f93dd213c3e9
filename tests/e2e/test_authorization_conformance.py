"""AuthorizationPolicies three ways: by hand, by the pure evaluator, and by Envoy deciding."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from culvert.compile.authorization.evaluate import evaluate, may_allow, rehearse
from culvert.compile.authorization.facts import Connection, HttpRequest
from culvert.model.key import ObjectKey
from culvert.model.token_issuer import TokenIssuer
from culvert.sources.manifests import ManifestSource
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.e2e.judging_proxy import pod_address
from tests.e2e.tokens import ISSUER, TOKEN_CASES, tokens
from tests.unit.test_authorization import SETS, facts

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
ENVOY = str(Path(sys.executable).with_name("envoy"))

Specs = Sequence[dict[str, Any]]
Facts = tuple[Connection, HttpRequest | None]


class Court:
    """Sets of policies with questions about each, put to Envoy all at once."""

    def __init__(self, folder: Path, issuers: Sequence[TokenIssuer] = ()) -> None:
        self.folder = folder
        (folder / "issuers.json").write_bytes(msgspec.json.encode(issuers))
        self.sets = 0
        self.questions: list[tuple[int, Facts]] = []

    def add(self, specs: Specs, asked: Sequence[Facts]) -> None:
        folder = self.folder / f"set-{self.sets}"
        folder.mkdir()
        documents = [
            {
                "apiVersion": "culvert.dev/v1alpha1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": f"policy-{index}", "namespace": "shop"},
                "spec": spec,
            }
            for index, spec in enumerate(specs)
        ]
        (folder / "policies.yaml").write_text(yaml.safe_dump_all(documents))
        for connection, request in asked:
            version = ip_address(connection.source_address).version
            there = replace(connection, destination_address=pod_address(self.sets, version))
            self.questions.append((self.sets, (there, request)))
        self.sets += 1

    def evaluated(self) -> list[bool]:
        worlds = [
            ManifestSource((self.folder / f"set-{index}",)).read() for index in range(self.sets)
        ]
        found = []
        for index, (connection, request) in self.questions:
            policies = worlds[index].authorization_policies.values()
            found.append(evaluate(policies, connection, request).allowed)
            # Only who may send no request at all loses a connection that carries some.
            assert request is None or may_allow(policies, connection) >= found[-1]
        return found

    def said(self) -> list[tuple[str, str, str]]:
        """What the log has to say, in order: what happened, to what, and by which rule."""
        lines = []
        worlds = [
            ManifestSource((self.folder / f"set-{index}",)).read() for index in range(self.sets)
        ]
        for index, (connection, request) in self.questions:
            policies = list(worlds[index].authorization_policies.values())
            decision = evaluate(policies, connection, request)
            if request is None:
                lines += [] if decision.allowed else [("denied", "connection", "")]
                continue
            if not decision.allowed:
                lines.append(("denied", "request", _rule(decision.by)))
            if decision.audited_by:
                lines.append(("audited", "request", str(decision.audited_by[0])))
            rehearsed = rehearse(policies, connection, request)
            if rehearsed is not None and not rehearsed.allowed:
                lines.append(("would_deny", "request", _rule(rehearsed.by)))
        return lines

    def logged(self) -> list[tuple[str, str, str]]:
        """What the log of the proxy that has decided says."""
        lines = []
        for text in (self.folder / "envoy.log").read_text().splitlines():
            if not text.startswith("{"):
                continue
            line = json.loads(text)
            [event] = line.keys() & {"denied", "audited", "would_deny"}
            policy = line.get("policy", "")
            lines.append((event, line[event], policy))
        return [
            (event, what, policy.rpartition("/")[0] if event == "audited" else policy)
            for event, what, policy in lines
        ]

    def decided(self) -> list[bool]:
        written = [self._question(index, *asked) for index, asked in self.questions]
        (self.folder / "questions.json").write_text(json.dumps(written))
        done = subprocess.run(
            [
                *("unshare", "--net", "--pid", "--fork", "--kill-child", sys.executable),
                *("-m", "tests.e2e.judging_proxy", str(self.folder), ENVOY),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        log = self.folder / "envoy.log"
        assert done.returncode == 0, done.stderr + (log.read_text() if log.exists() else "")
        answers: list[bool] = json.loads((self.folder / "answers.json").read_text())
        return answers

    def _question(
        self, index: int, connection: Connection, request: HttpRequest | None
    ) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "set": index,
            "source": connection.source_address,
            "account": f"spiffe://{connection.principal}" if connection.principal else "",
            "port": connection.destination_port_host,
        }
        if request is not None:
            asked |= {
                "method": request.method,
                "host": request.host,
                "path": request.path,
                "headers": dict(request.headers),
            }
        return asked


def _rule(by: tuple[ObjectKey, int] | None) -> str:
    return f"{by[0]}/{by[1]}" if by else ""


def disagreements(court: Court, **ways: list[bool]) -> list[str]:
    return [
        f"{court.folder}/set-{index} {asked}: {dict(zip(ways, said, strict=True))}"
        for (index, asked), said in zip(
            court.questions, zip(*ways.values(), strict=True), strict=True
        )
        if len(set(said)) > 1
    ]


def test_hand_written_cases_are_decided_alike_by_evaluator_and_envoy(tmp_path: Path) -> None:
    court, wanted = Court(tmp_path), []
    for one in SETS:
        court.add(one["policies"], [facts(case) for case in one["requests"]])
        wanted += [case["want"] == "allow" for case in one["requests"]]
    assert len(wanted) >= 100
    found = disagreements(court, by_hand=wanted, evaluator=court.evaluated(), envoy=court.decided())
    assert found == []


@settings(max_examples=4)
@given(chance=st.randoms(use_true_random=True))
def test_random_policies_are_decided_alike_by_evaluator_and_envoy(chance: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        court = Court(Path(folder))
        for _ in range(40):
            court.add(random_specs(chance), [random_facts(chance) for _ in range(8)])
        evaluated = court.evaluated()
        assert 20 < sum(evaluated) < len(evaluated) - 20, "one answer to nearly everything"
        assert disagreements(court, evaluator=evaluated, envoy=court.decided()) == []
        assert court.logged() == court.said()


def test_conditions_on_tokens_are_decided_alike_by_evaluator_and_envoy(tmp_path: Path) -> None:
    court, wanted = Court(tmp_path, [ISSUER]), []
    for condition, allowed in TOKEN_CASES:
        for action in ("ALLOW", "DENY"):
            court.add(
                [{"action": action, "rules": [{"when": [condition]}]}], list(tokens().values())
            )
            wanted += [(name in allowed) == (action == "ALLOW") for name in tokens()]
    found = disagreements(court, by_hand=wanted, evaluator=court.evaluated(), envoy=court.decided())
    assert found == []


ACCOUNTS = [("shop", "cart"), ("shop", "web"), ("other", "cart")]
PRINCIPALS = [
    "*",
    "cluster.local/ns/shop/sa/cart",
    "cluster.local/ns/shop/*",
    "*/sa/cart",
    "cluster.*",
    "other.org/ns/shop/sa/cart",
]
NAMESPACES = ["shop", "other", "sh*", "*er", "*"]
BLOCKS = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.1", "fd00::/16", "0.0.0.0/0"]
HOSTS = ["web", "WEB.example", "*.example", "web*", "*", "web:8080"]
METHODS = ["GET", "POST", "P*", "*"]
PATHS = ["/", "/a", "/a/*", "*/c", "*", "/a?x"]
VALUES = ["yes", "y*", "*s", "*"]


def random_specs(chance: random.Random) -> list[dict[str, Any]]:
    actions = chance.choices(["ALLOW", "ALLOW", "DENY", "AUDIT"], k=chance.choice([1, 1, 2, 3]))
    return [
        {
            "action": action,
            "dryRun": chance.random() < 0.3,
            "rules": [
                random_rule(chance)
                for _ in range(chance.choice([0, 1, 1, 2] if action == "ALLOW" else [1, 2]))
            ],
        }
        for action in actions
    ]


def random_rule(chance: random.Random) -> dict[str, Any]:
    rule: dict[str, Any] = {}
    if chance.random() < 0.6:
        rule["from"] = [{"source": random_source(chance)} for _ in range(chance.choice([1, 1, 2]))]
    if chance.random() < 0.6:
        rule["to"] = [
            {"operation": random_operation(chance)} for _ in range(chance.choice([1, 1, 2]))
        ]
    if chance.random() < 0.4:
        rule["when"] = [random_condition(chance)]
    return rule


def some(chance: random.Random, values: Sequence[Any]) -> list[Any]:
    return chance.sample(values, chance.choice([1, 1, 2]))


def random_fields(chance: random.Random, fields: dict[str, Sequence[Any]]) -> dict[str, Any]:
    names = chance.sample(sorted(fields), chance.choice([1, 1, 2]))
    return {name: some(chance, fields[name]) for name in names}


def random_source(chance: random.Random) -> dict[str, Any]:
    fields: dict[str, Sequence[Any]] = {
        "principals": PRINCIPALS,
        "notPrincipals": PRINCIPALS,
        "namespaces": NAMESPACES,
        "notNamespaces": NAMESPACES,
        "ipBlocks": BLOCKS,
        "notIpBlocks": BLOCKS,
    }
    return random_fields(chance, fields)


def random_operation(chance: random.Random) -> dict[str, Any]:
    fields: dict[str, Sequence[Any]] = {
        "hosts": HOSTS,
        "notHosts": HOSTS,
        "methods": METHODS,
        "notMethods": METHODS,
        "paths": PATHS,
        "notPaths": PATHS,
        "ports": [8080, 9090],
        "notPorts": [8080, 9090],
    }
    return random_fields(chance, fields)


def random_condition(chance: random.Random) -> dict[str, Any]:
    key, values = chance.choice(
        [
            ("source.principal", PRINCIPALS),
            ("source.namespace", NAMESPACES),
            ("source.ip", BLOCKS),
            ("destination.port", ["8080", "9090", "80*", "*80", "*"]),
            ("destination.ip", ["10.200.0.0/16", "fd00:200::/32", "10.200.0.1"]),
            ("request.headers[x-user]", VALUES),
            ("request.auth.principal", ["*", "a"]),
            ("connection.sni", ["*", "a"]),
        ]
    )
    which = chance.choice([("values",), ("notValues",), ("values", "notValues")])
    return {"key": key, **{name: some(chance, values) for name in which}}


def random_facts(chance: random.Random) -> Facts:
    namespace, account = chance.choice([*ACCOUNTS, ("", "")])
    connection = Connection(
        source_address=chance.choice(["10.0.0.1", "10.1.1.1", "10.1.2.3", "fd00::5", "fe00::1"]),
        destination_address="",
        destination_port_host=chance.choice([8080, 9090]),
        principal=f"cluster.local/ns/{namespace}/sa/{account}" if namespace else "",
    )
    if chance.random() < 0.4:
        return connection, None
    return connection, HttpRequest(
        method=chance.choice(["GET", "POST", "PUT"]),
        host=chance.choice(["web", "web:8080", "Web.Example", "a.example:1", "other"]),
        path=chance.choice(
            ["/", "/a", "/a/b", "/a/b?x=/c", "/b/c", "//a", "/a/%2e%2e/c", "/a;x", "/%61"]
        ),
        headers=chance.choice([{}, {"x-user": "yes"}, {"x-user": "no"}, {"x-user": "gas"}]),
    )
