"""Alerts and dashboard speak of metrics that there are, and say what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import yaml
from culvert.control.aggregate import Aggregate
from culvert.control.metrics import ControllerCounters, LeaderCollector
from culvert.model import codes
from culvert.model.report import NodeReport, ReportedFinding
from culvert.redirect.abi import Verdict
from culvert.redirect.report import Acceleration
from culvert.status.document import CertificateStatus, IdentityStatus, RemarkStatus
from culvert.status.metrics import StatusCollector
from culvert.xds.metrics import PrometheusMeter
from culvert.xds.resource_types import CLUSTER
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.chart.matrix import WITH_OPERATOR
from tests.chart.test_render import CHART, of_kind, rendered
from tests.unit.test_status import document

ALERTS = {
    "CulvertAccelerationOff",
    "CulvertAgentSilent",
    "CulvertCertificateNotRenewed",
    "CulvertMapNearlyFull",
    "CulvertNoControllerLeads",
    "CulvertProxyNotListening",
    "CulvertResourcesRejected",
    "CulvertSourceStale",
}
WHO = IdentityStatus(
    trust_domain="cluster.local",
    certificates=[CertificateStatus("spiffe://cluster.local/ns/a/sa/b", 0.0, 1.0)],
    issued_total=1,
    failures_total={"Refused": 1},
    live_connections=1,
    cut_total=1,
    remarks=[RemarkStatus("audited", "shop/a", 1)],
)
SCRAPED = {"instance", "node"}
"""Labels that Prometheus and the ServiceMonitors add."""

KNOWN_VALUES = {
    "verdict": {verdict.name.lower() for verdict in Verdict},
    "state": {state.value for state in Acceleration},
    "code": {one.id for one in vars(codes).values() if isinstance(one, codes.Code)},
}
METRIC = re.compile(r"\b(culvert_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')


def of_the_agent() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(StatusCollector(lambda: msgspec.structs.replace(document(), identities=WHO)))
    meter = PrometheusMeter(registry)
    meter.pushed(CLUSTER, 1)
    return registry


def of_the_controller() -> CollectorRegistry:
    registry = CollectorRegistry()
    counters = ControllerCounters(registry)
    counters.report_answered("Taken")
    counters.status_written("written")
    counters.event_written("written")
    aggregate = Aggregate(0.0)
    finding = ReportedFinding("CV0101", "a.yaml", "", "not YAML", "mend it")
    aggregate.take(NodeReport(node="a", session_id="a", sequence=1, findings=(finding,)), 0.0)
    registry.register(LeaderCollector(lambda: aggregate))
    return registry


def exposed() -> dict[str, set[str]]:
    """Name -> labels, of every sample that a scrape of an agent or a controller has."""
    found: dict[str, set[str]] = {}
    for registry in (of_the_agent(), of_the_controller()):
        for family in text_string_to_metric_families(generate_latest(registry).decode()):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def alerts(*values: str) -> list[dict[str, Any]]:
    rule = of_kind(rendered("monitoring.prometheusRule.enabled=true", *values), "PrometheusRule")
    return [alert for group in rule["spec"]["groups"] for alert in group["rules"]]


def dashboard() -> dict[str, Any]:
    config_map = of_kind(rendered("monitoring.dashboard.enabled=true"), "ConfigMap", "-dashboard")
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    read: dict[str, Any] = json.loads(config_map["data"]["culvert.json"])
    return read


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    yield from (alert["expr"] for alert in alerts())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])
    yield from (
        one["definition"] for one in dashboard()["templating"]["list"] if "definition" in one
    )


def unknown_in(expression: str) -> Iterator[str]:
    """Metrics, labels and values of labels that are nowhere exposed."""
    known = exposed()
    for name, matchers in METRIC.findall(expression):
        if name not in known:
            yield name
            continue
        for label, operator, wanted in MATCHER.findall(matchers):
            if label not in known[name] | SCRAPED:
                yield f"{name}{{{label}}}"
            elif label in KNOWN_VALUES:
                alternatives = wanted.split("|") if operator == "=~" else [re.escape(wanted)]
                for one in alternatives:
                    if not any(re.fullmatch(one, value) for value in KNOWN_VALUES[label]):
                        yield f'{name}{{{label}="{wanted}"}}'


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_expression_asks_for_nothing_that_is_not_exposed(expression: str) -> None:
    assert METRIC.search(expression)
    assert list(unknown_in(expression)) == []


@pytest.mark.parametrize(
    ("expression", "unknown"),
    [
        ("rate(culvert_redirects[5m])", "culvert_redirects"),
        ('culvert_acceleration{case="on"}', "culvert_acceleration{case}"),
        ('culvert_acceleration{state="of"}', 'culvert_acceleration{state="of"}'),
        ('culvert_findings{code=~"CV0501|CV9999"}', 'culvert_findings{code="CV0501|CV9999"}'),
    ],
)
def test_what_is_not_exposed_is_found(expression: str, unknown: str) -> None:
    assert list(unknown_in(expression)) == [unknown]


def test_every_kind_of_trouble_has_its_alert() -> None:
    assert sorted(alert["alert"] for alert in alerts()) == sorted(ALERTS)


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_alert_says_what_is_so_what_it_means_and_what_to_do(alert: dict[str, Any]) -> None:
    assert set(alert["annotations"]) == {"summary", "description", "remedy"}
    assert all(text.strip() for text in alert["annotations"].values())
    assert alert["labels"]["severity"] in ("critical", "warning")


def test_values_that_a_rule_mentions_exist() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for path in re.findall(r"\b(agent\.\w+(?:\.\w+)*)=", (CHART / "files/alerts.yaml").read_text()):
        at: Any = values
        for key in path.split("."):
            assert key in at, path
            at = at[key]


@pytest.mark.parametrize(
    ("value", "gone"),
    [
        ("agent.acceleration=false", {"CulvertAccelerationOff"}),
        ("controller.enabled=false", {"CulvertAgentSilent", "CulvertNoControllerLeads"}),
    ],
)
def test_what_is_switched_off_raises_no_alert(value: str, gone: set[str]) -> None:
    assert {alert["alert"] for alert in alerts(value)} == ALERTS - gone


def test_every_panel_has_a_title_a_unit_and_a_place_of_its_own() -> None:
    places: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        assert panel["title"]
        where = panel["gridPos"]
        cells = {
            (where["x"] + x, where["y"] + y) for x in range(where["w"]) for y in range(where["h"])
        }
        assert not cells & places, panel["title"]
        assert max(x for x, _ in cells) < 24
        places |= cells
    for panel in panels():
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("component", "owner"), [("agent", "DaemonSet"), ("controller", "Deployment")]
)
def test_monitor_finds_one_service_and_that_the_port_of_the_metrics(
    component: str, owner: str
) -> None:
    documents = rendered(*WITH_OPERATOR["scraped"])
    monitor = of_kind(documents, "ServiceMonitor", f"-{component}-metrics")
    (endpoint,) = monitor["spec"]["endpoints"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = [
        one
        for one in documents
        if one["kind"] == "Service" and wanted <= one["metadata"]["labels"].items()
    ]
    (port,) = service["spec"]["ports"]
    assert port["name"] == endpoint["port"]
    assert service["spec"]["clusterIP"] == "None"
    template = of_kind(documents, owner, f"-{component}")["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    ports = {
        one["name"]: one["containerPort"] for one in template["spec"]["containers"][0]["ports"]
    }
    assert ports[port["targetPort"]] == port["port"]


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PrometheusRule"])
def test_label_by_which_a_prometheus_chooses_is_where_it_looks(kind: str) -> None:
    values = [*WITH_OPERATOR["scraped"], *WITH_OPERATOR["alerts"]]
    for one in rendered(*values):
        assert ("release" in one["metadata"]["labels"]) is (
            one["kind"] in ("ServiceMonitor", "PrometheusRule")
        )
    assert any(one["kind"] == kind for one in rendered(*values))


def test_nothing_of_it_is_there_by_default() -> None:
    names = {(one["kind"], one["metadata"]["name"]) for one in rendered()}
    assert not {kind for kind, _ in names} & {"ServiceMonitor", "PrometheusRule"}
    assert not any(name.endswith(("-metrics", "-dashboard")) for _, name in names)
