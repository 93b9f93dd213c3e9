from __future__ import annotations

import pytest
from culvert.control.regarding import Regarding, regarding

WEB = Regarding("Service", "shop", "web")


@pytest.mark.parametrize(
    ("subject", "want"),
    [
        ("Service shop/web", WEB),
        ("Pod shop/web-0.a", Regarding("Pod", "shop", "web-0.a")),
        ("MeshConfig default", Regarding("MeshConfig", "", "default")),
        ("Node worker-1.example", Regarding("Node", "", "worker-1.example")),
    ],
)
def test_event_is_about_the_subject_of_the_finding(subject: str, want: Regarding) -> None:
    assert regarding(subject) == want


@pytest.mark.parametrize(
    "subject",
    [
        "file broken.yaml",
        "Service web",
        "Node shop/web",
        "Service shop/",
        "Service /web",
        "",
        "Secret shop/web",
        "Service shop/web and more",
        "Service shop/../../../api/v1/namespaces/kube-system/secrets/x",
        "Service ../web",
        "Service shop/web?watch=true",
        "Service shop/..",
        "Node ..",
        "Service shop/web\n",
        "Node " + "x" * 254,
    ],
)
def test_subject_that_is_no_object_of_the_api_names_none(subject: str) -> None:
    assert regarding(subject) is None


def test_paths_are_those_of_the_object_and_of_the_events_in_its_namespace() -> None:
    assert WEB.path == "/api/v1/namespaces/shop/services/web"
    assert WEB.events_path == "/apis/events.k8s.io/v1/namespaces/shop/events"
    node = Regarding("Node", "", "a")
    assert node.path == "/api/v1/nodes/a"
    assert node.events_path == "/apis/events.k8s.io/v1/namespaces/default/events"
