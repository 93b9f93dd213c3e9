"""Cluster IPs, EndpointSlices, the environment and the kube-proxy stand-in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from culvert.rig.cluster_ips import assign_cluster_ips
from culvert.rig.endpoint_slices import MAX_ENDPOINTS, derive_slices
from culvert.rig.environment import container_environment, expand, service_links
from culvert.rig.kube_proxy import ServiceRule, rules_of, ruleset
from culvert.rig.pod_status import ContainerPhase, ContainerStatus, PodStatus
from culvert.rig.service import Service
from culvert.rig.wanted import SourcedDocument, decode
from hypothesis import given
from hypothesis import strategies as st


def service(name: str = "web", **spec: Any) -> Service:
    document = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "web"}],
            **spec,
        },
    }
    return decode([SourcedDocument("a.yaml#1", document)]).services[0]


def pod(number: int = 1, *, port: int = 8080, **changes: Any) -> PodStatus:
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"web-{number:04d}", "labels": {"app": "web", "tier": "x"}},
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "command": ["true"],
                    "ports": [{"name": "web", "containerPort": port}],
                    "env": [
                        {"name": "A", "value": "$(HOSTNAME)-$(NONE)-$$(HOSTNAME)"},
                        {"name": "B", "value": "<$(A)>"},
                        {"name": "T", "valueFrom": {"fieldRef": {
                            "fieldPath": "metadata.labels['tier']"}}},
                        {"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
                    ],
                }
            ]
        },
    }  # fmt: skip
    status = PodStatus(
        namespace="default",
        name=f"web-{number:04d}",
        uid=f"uid-{number}",
        owner="",
        node_name="node-a",
        zone="zone-a",
        template=decode([SourcedDocument("a.yaml#1", document)]).pods[0].template,
        created="2026-01-01T00:00:00Z",
        host_ips=("10.99.0.1", "fd99::1"),
        ips=(f"10.244.{number // 250}.{number % 250 + 1}", f"fd00:10:244::{number:x}"),
        containers=(ContainerStatus("c", ContainerPhase.RUNNING, ready=True),),
    )
    return replace(status, **changes)


def conditions(pod: PodStatus, **spec: Any) -> dict[str, bool]:
    (piece,) = derive_slices(service(**spec), [pod])
    return dict(piece["endpoints"][0]["conditions"])


def test_ready_pod_is_a_ready_endpoint() -> None:
    assert conditions(pod()) == {"ready": True, "serving": True, "terminating": False}


def test_terminating_pod_serves_but_is_not_ready() -> None:
    leaving = pod(terminating_since="2026-01-01T00:00:00Z")
    assert conditions(leaving) == {"ready": False, "serving": True, "terminating": True}


def test_pod_that_is_not_ready_can_be_published() -> None:
    starting = pod(containers=(ContainerStatus("c", ContainerPhase.RUNNING),))
    assert not conditions(starting)["ready"]
    assert conditions(starting, publishNotReadyAddresses=True)["ready"]


def test_pods_without_address_of_other_namespaces_or_ended_are_no_endpoints() -> None:
    ended = (ContainerStatus("c", ContainerPhase.TERMINATED),)
    others = [pod(ips=()), pod(namespace="other"), pod(containers=ended)]
    assert derive_slices(service(), others) == []


def test_service_without_selector_has_no_slices_of_its_own() -> None:
    assert derive_slices(service(selector={}), [pod()]) == []
    assert derive_slices(service(type="ExternalName"), [pod()]) == []


def test_named_target_port_of_differing_pods_makes_several_slices() -> None:
    pieces = derive_slices(service(), [pod(1, port=8080), pod(2, port=9090)])
    assert sorted(p["ports"][0]["port"] for p in pieces) == [8080, 9090]


def test_dual_stack_service_has_slices_of_both_families() -> None:
    pieces = derive_slices(service(ipFamilyPolicy="PreferDualStack"), [pod()])
    assert {p["addressType"]: p["endpoints"][0]["addresses"] for p in pieces} == {
        "IPv4": ["10.244.0.2"],
        "IPv6": ["fd00:10:244::1"],
    }


def test_slices_are_cut_at_the_limit_and_do_not_depend_on_the_order_of_pods() -> None:
    pods = [pod(number) for number in range(MAX_ENDPOINTS + 1)]
    pieces = derive_slices(service(), pods)
    assert [len(p["endpoints"]) for p in pieces] == [MAX_ENDPOINTS, 1]
    assert len({p["metadata"]["name"] for p in pieces}) == 2
    assert derive_slices(service(), reversed(pods)) == pieces


def test_endpoint_names_its_pod_node_and_zone() -> None:
    (piece,) = derive_slices(service(), [pod()])
    endpoint = piece["endpoints"][0]
    assert (endpoint["nodeName"], endpoint["zone"]) == ("node-a", "zone-a")
    assert endpoint["targetRef"]["uid"] == "uid-1"
    assert piece["metadata"]["labels"]["kubernetes.io/service-name"] == "web"


names = st.lists(st.sampled_from([f"s{n}" for n in range(40)]), unique=True, max_size=20)


@given(names, names)
def test_cluster_ips_are_unique_and_stay(before: list[str], after: list[str]) -> None:
    dual = {"ipFamilyPolicy": "PreferDualStack"}
    have, _ = assign_cluster_ips([service(n, **dual) for n in before], {})
    want, findings = assign_cluster_ips([service(n, **dual) for n in after], have)
    flat = [address for addresses in want.values() for address in addresses]
    assert len(set(flat)) == len(flat) == 2 * len(after)
    assert all(want[key] == have[key] for key in want.keys() & have.keys())
    assert findings == []


def test_cluster_ip_asked_for_is_given_and_asked_for_twice_is_reported() -> None:
    both = [service("a", clusterIP="10.96.0.10"), service("b", clusterIP="10.96.0.10")]
    want, findings = assign_cluster_ips(both, {})
    assert want == {("default", "a"): ("10.96.0.10",)}
    assert [f.subject for f in findings] == ["Service default/b"]


def test_headless_and_external_services_get_no_address() -> None:
    services = [service("a", clusterIP="None"), service("b", type="ExternalName")]
    assert assign_cluster_ips(services, {}) == ({}, [])


def test_references_are_expanded_as_kubernetes_does() -> None:
    assert expand("a$(X)b$$(X)$(NONE)$(", {"X": "1"}) == "a1b$(X)$(NONE)$("


def test_container_sees_fields_earlier_variables_and_services() -> None:
    links = service_links("default", [service("my-db")], {("default", "my-db"): ("10.96.0.9",)})
    status = pod()
    seen = container_environment(status.template.containers[0], status, links, {"PATH": "/bin"})
    assert seen["MY_DB_SERVICE_HOST"] == "10.96.0.9"
    assert seen["MY_DB_SERVICE_PORT"] == seen["MY_DB_SERVICE_PORT_HTTP"] == "80"
    assert seen["A"] == "web-0001-$(NONE)-$(HOSTNAME)"
    assert seen["B"] == "<web-0001-$(NONE)-$(HOSTNAME)>"
    assert seen["T"] == "x"
    assert seen["IPS"] == "10.244.0.2,fd00:10:244::1"
    assert service_links("other", [service("my-db")], {("default", "my-db"): ("1.2.3.4",)}) == {}


def test_rules_prefer_ready_endpoints_and_fall_back_to_serving_ones() -> None:
    def rules(*pods: PodStatus) -> list[ServiceRule]:
        made = service()
        described = {
            "kind": "Service",
            "metadata": {"namespace": "default", "name": "web"},
            "spec": {"clusterIPs": ["10.96.0.9"], "ports": [{"name": "http", "port": 80}]},
        }
        return rules_of([described, *derive_slices(made, pods)])

    leaving = pod(1, terminating_since="2026-01-01T00:00:00Z")
    assert rules(leaving, pod(2))[0].endpoints == (("10.244.0.3", 8080),)
    assert rules(leaving)[0].endpoints == (("10.244.0.2", 8080),)
    assert rules()[0].endpoints == ()


def test_ruleset_sends_to_endpoints_and_refuses_without() -> None:
    script = ruleset(
        [
            ServiceRule("10.96.0.1", 80, "tcp", (("10.244.1.1", 8080),)),
            ServiceRule("fd00:10:96::1", 80, "tcp", (("fd00::1", 1),), by_client=True),
            ServiceRule("10.96.0.2", 53, "udp", ()),
        ]
    )
    assert "10.96.0.1 . tcp . 80 : goto service-0" in script
    assert "dnat ip to numgen random mod 1 map { 0 : 10.244.1.1 . 8080 }" in script
    assert "dnat ip6 to jhash ip6 saddr mod 1 map { 0 : fd00::1 . 1 }" in script
    assert "set refused-ip {\n  type ipv4_addr . inet_proto . inet_service\n" in script
    assert "elements = { 10.96.0.2 . udp . 53 }" in script
