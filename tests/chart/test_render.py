"""What the chart renders, over many values; nothing is applied here (see tests/kube)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from culvert.compile.bootstrap import bootstrap_json, compile_bootstrap

from tests.chart.matrix import EVERY, VALUES

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "culvert"
CRDS = ROOT / "charts" / "culvert-crds"
HELM = Path(sys.executable).with_name("helm")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(HELM), *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def rendered(
    *values: str, chart: Path = CHART, namespace: str = "culvert-system"
) -> list[dict[str, Any]]:
    sets = [f"--set={value}" for value in values]
    done = helm("template", "culvert", str(chart), f"--namespace={namespace}", *sets)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(documents: list[dict[str, Any]], kind: str, end: str = "") -> dict[str, Any]:
    (found,) = [
        one for one in documents if one["kind"] == kind and one["metadata"]["name"].endswith(end)
    ]
    return found


@pytest.mark.parametrize("chart", [CHART, CRDS], ids=lambda chart: chart.name)
def test_chart_has_nothing_to_complain_of(chart: Path) -> None:
    done = helm("lint", "--strict", str(chart))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("values", EVERY.values(), ids=EVERY)
def test_every_object_is_named_once_and_in_the_release(values: list[str]) -> None:
    documents = rendered(*values)
    names = [(one["kind"], one["metadata"]["name"]) for one in documents]
    assert len(names) == len(set(names))
    for one in documents:
        cluster_wide = one["kind"] in ("ClusterRole", "ClusterRoleBinding", "MeshConfig")
        assert cluster_wide or one["metadata"]["namespace"] == "culvert-system"
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "culvert"


@pytest.mark.parametrize("values", EVERY.values(), ids=EVERY)
def test_containers_drop_every_capability_and_write_to_volumes_alone(values: list[str]) -> None:
    for one in rendered(*values):
        if one["kind"] not in ("DaemonSet", "Deployment", "Job"):
            continue
        spec = one["spec"]["template"]["spec"]
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            context = container["securityContext"]
            assert context["capabilities"]["drop"] == ["ALL"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True


def test_selectors_find_the_pods_of_their_own_template() -> None:
    for one in rendered(*VALUES["named otherwise"]):
        if one["kind"] in ("DaemonSet", "Deployment"):
            wanted = one["spec"]["selector"]["matchLabels"]
            assert wanted.items() <= one["spec"]["template"]["metadata"]["labels"].items()


def test_proxies_stay_as_they_are_when_only_the_agent_changes() -> None:
    before = of_kind(rendered(), "DaemonSet", "-proxy")
    changes = ("agent.image.tag=next", "agent.logLevel=debug", "agent.acceleration=false")
    after = of_kind(rendered(*changes), "DaemonSet", "-proxy")
    assert before["spec"]["template"] == after["spec"]["template"]


def test_proxies_stay_as_they_are_from_one_version_of_the_chart_to_the_next(tmp_path: Path) -> None:
    later = tmp_path / "culvert"
    shutil.copytree(CHART, later)
    about = later / "Chart.yaml"
    about.write_text(re.sub(r"(?m)^(version|appVersion): .*", r"\1: 99.0.0", about.read_text()))
    before = of_kind(rendered(), "DaemonSet", "-proxy")
    after = of_kind(rendered(chart=later), "DaemonSet", "-proxy")
    assert before["metadata"]["labels"] != after["metadata"]["labels"]
    assert before["spec"]["template"] == after["spec"]["template"]


def test_proxies_are_rolled_out_anew_when_their_bootstrap_changes() -> None:
    before = of_kind(rendered(), "DaemonSet", "-proxy")
    after = of_kind(rendered("proxy.maxConnections=5"), "DaemonSet", "-proxy")
    assert before["spec"]["template"] != after["spec"]["template"]


@pytest.mark.parametrize("identity", [False, True])
def test_bootstrap_is_what_the_compiler_makes_but_for_the_name_of_the_node(identity: bool) -> None:
    values = ("proxy.maxConnections=7", f"identity.enabled={str(identity).lower()}")
    config_map = of_kind(rendered(*values), "ConfigMap", "-proxy")
    made = json.loads(
        bootstrap_json(
            compile_bootstrap(
                "any",
                "/run/culvert/agent/xds.sock",
                "/run/culvert/proxy/admin.sock",
                max_connections=7,
                identity=identity,
            )
        )
    )
    del made["node"]["id"]
    assert json.loads(config_map["data"]["bootstrap.json"]) == made


def test_agent_may_read_what_it_watches_and_nothing_else() -> None:
    role = of_kind(rendered(), "ClusterRole", "-agent")
    verbs = {verb for rule in role["rules"] for verb in rule["verbs"]}
    resources = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert verbs == {"get", "list", "watch"}
    assert "secrets" not in resources
    assert "*" not in resources


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("agent.httpPort=99999", "agent.httpPort"),
        ("agent.logLevel=loud", "agent.logLevel"),
        ("proxy.concurrency=0", "proxy.concurrency"),
        ("node.runRoot=run", "node.runRoot"),
        ("agent.image.digest=latest", "agent.image.digest"),
        ("agent.colour=red", "colour"),
        ("identity.trustDomain=Shop", "identity.trustDomain"),
        ("identity.certificateLifetime=soon", "identity.certificateLifetime"),
        ("identity.enabled=true,controller.enabled=false", "controller.enabled=true"),
        ("monitoring.serviceMonitor.enabled=true", "agent.metrics.enabled"),
        ("monitoring.dashboard.enabled=perhaps", "monitoring.dashboard.enabled"),
    ],
)
def test_value_that_is_wrong_is_refused_by_name(value: str, named: str) -> None:
    done = helm("template", "culvert", str(CHART), f"--set={value}")
    assert done.returncode != 0
    assert named in done.stderr


def test_definitions_are_kept_unless_the_operator_says_otherwise() -> None:
    policy = "helm.sh/resource-policy"
    kept, gone = rendered(chart=CRDS), rendered("keep=false", chart=CRDS)
    assert {one["metadata"]["annotations"].get(policy) for one in kept} == {"keep"}
    assert not any(policy in one["metadata"].get("annotations", {}) for one in gone)


def test_controller_is_restricted_as_the_pod_security_standard_asks() -> None:
    spec = of_kind(rendered(), "Deployment")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "hostNetwork" not in spec
    assert "volumes" not in spec
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_without_a_controller_agents_report_to_nobody_and_hold_no_token() -> None:
    documents = rendered("controller.enabled=false")
    assert not any("controller" in one["metadata"]["name"] for one in documents)
    assert "controller" not in json.dumps(of_kind(documents, "DaemonSet", "-agent"))
