"""Attacks with Services: a tenant's, whose endpoints are the pods of another namespace.

Who may write EndpointSlices may let them name any address (CVE-2021-25740). What such a Service
says of a pod's port must neither open the pod nor close it for others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.besieged import besieged_town
from tests.e2e.town import SERVER_PORT, Town

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with besieged_town(tmp_path_factory.mktemp("authority")) as town:
        yield town


def service(
    town: Town, pod: str, protocol: str, *, address: str = "None", namespace: str = "tenant"
) -> list[dict[str, Any]]:
    """A Service and its slice, with a pod of ``default`` in it."""
    name = f"trick-{protocol}-{pod}"
    port = {"name": "main", "port": SERVER_PORT, "protocol": "TCP"}
    metadata = {"name": name, "namespace": namespace}
    victim = town.pods[pod]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"clusterIP": address, "ports": [{**port, "appProtocol": protocol}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [port],
            "endpoints": [
                {
                    "addresses": [victim.ipv4],
                    "conditions": {"ready": True},
                    "nodeName": victim.node_name,
                }
            ],
        },
    ]


@contextmanager
def written(town: Town, documents: Iterable[dict[str, Any]]) -> Iterator[None]:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tenant"}}
    town.write("services-of-tenant", namespace, *documents)
    town.settle()
    try:
        yield
    finally:
        town.remove("services-of-tenant")


PROTOCOLS = (("tcp",), ("http",), ("http", "tcp"))


@pytest.mark.parametrize("protocols", PROTOCOLS, ids="+".join)
def test_headless_services_of_a_tenant_change_nothing(
    town: Town, protocols: tuple[str, ...]
) -> None:
    tricks = [
        document
        for pod in ("web-a", "line-a")
        for protocol in protocols
        for document in service(town, pod, protocol)
    ]
    with written(town, tricks):
        judged_as_always(town)


@pytest.mark.parametrize("protocols", PROTOCOLS, ids="+".join)
def test_services_of_a_tenant_with_addresses_change_nothing(
    town: Town, protocols: tuple[str, ...]
) -> None:
    tricks = [
        document
        for number, pod in enumerate(("web-a", "line-a"))
        for protocol in protocols
        for document in service(
            town, pod, protocol, address=f"10.96.{number}.{100 + len(protocol)}"
        )
    ]
    with written(town, tricks):
        judged_as_always(town)
        for number in range(2):
            for protocol in protocols:
                place = (f"10.96.{number}.{100 + len(protocol)}", SERVER_PORT)
                for client in ("other-a", "other-b"):
                    assert not served(town, client, place), (client, protocol)


def test_own_headless_services_that_contradict_each_other_open_nothing(town: Town) -> None:
    contradicting = [
        document
        for protocol in ("http", "tcp")
        for document in service(town, "line-a", protocol, namespace="default")
    ]
    with written(town, contradicting):
        place = (town.pods["line-a"].ipv4, SERVER_PORT)
        for end in ("a", "b"):
            assert served(town, f"client-{end}", place)
            assert not served(town, f"other-{end}", place)


def judged_as_always(town: Town) -> None:
    """On the pods' own node and from another, by the pods' addresses and by their Services."""
    line, web = ((town.pods[name].ipv4, SERVER_PORT) for name in ("line-a", "web-a"))
    for end in ("a", "b"):
        for place in (line, web, ("10.96.0.10", 80), ("10.96.0.12", 80)):
            assert served(town, f"client-{end}", place), (end, place)
            assert not served(town, f"other-{end}", place), (end, place)


def served(town: Town, client: str, place: tuple[str, int]) -> bool:
    """Whether a pod hears a server: its greeting, or an answer to a request that is allowed."""
    with town.pods[client].connect(place) as connection:
        connection.settimeout(20)
        try:
            connection.sendall(b"GET /open HTTP/1.1\r\nHost: web\r\n\r\n")
            answer = connection.recv(1000)
        except ConnectionError:
            return False
    return answer.startswith((b"hello from ", b"HTTP/1.1 200"))
