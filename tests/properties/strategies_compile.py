"""Small worlds that collide often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from culvert.model.endpoint import Endpoint, EndpointPort, EndpointSlice
from culvert.model.key import ObjectKey
from culvert.model.node import ZONE_LABEL, Namespace, Node
from culvert.model.policy import (
    AuthorizationPolicy,
    MeshConfig,
    MtlsMode,
    PeerAuthentication,
    Rule,
    TargetRef,
    TrafficPolicy,
)
from culvert.model.service import Service, ServiceKind, ServicePort, TrafficDistribution
from culvert.model.settings import Settings
from culvert.model.traffic import AccessLog, OutlierDetection, TrafficOverrides
from culvert.model.workload import Phase, Workload
from culvert.model.world import World
from hypothesis import strategies as st

NODES = ("node-a", "node-b")
NAMESPACES = ("one", "two")
MESH_LABELS = st.sampled_from(
    [
        {},
        {"culvert.dev/mesh": "enabled"},
        {"culvert.dev/mesh": "disabled"},
        {"culvert.dev/mesh": "?"},
    ]
)
ANNOTATIONS = st.sampled_from(
    [
        {},
        {"culvert.dev/fail-mode": "open"},
        {"culvert.dev/acceleration": "disabled"},
        {"culvert.dev/exclude-inbound-ports": "80,nonsense"},
        {"culvert.dev/exclude-outbound-cidrs": "10.0.0.0/8"},
        {"culvert.dev/protocol": "80=http,tcp=grpc,81=?"},
        {"culvert.dev/retry-on": "5xx", "culvert.dev/request-timeout": "1s"},
        {"culvert.dev/locality": "node", "culvert.dev/session-affinity": "cookie=c"},
        {"culvert.dev/access-log": "all", "culvert.dev/session-affinity": "none"},
    ]
)
ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1"])
PORT_NAMES = st.sampled_from(["", "http", "tcp", "grpc-x"])
PORT_NUMBERS = st.sampled_from([80, 81])

namespaces = st.builds(Namespace, st.sampled_from(NAMESPACES), MESH_LABELS)
nodes = st.builds(
    Node,
    st.sampled_from(NODES),
    st.sampled_from([{}, {ZONE_LABEL: "x"}, {ZONE_LABEL: "y"}]),
    st.sampled_from([(), ("192.0.2.1",), ("192.0.2.2", "2001:db8::2")]),
)
workloads = st.builds(
    Workload,
    namespace=st.sampled_from(NAMESPACES),
    name=st.sampled_from(["p", "q", "r"]),
    uid=st.sampled_from(["u1", "u2", "u3"]),
    node=st.sampled_from(NODES),
    addresses=st.lists(ADDRESSES, max_size=2, unique=True).map(tuple),
    phase=st.sampled_from(Phase),
    host_network=st.booleans(),
    service_account=st.sampled_from(["default", "other"]),
    labels=MESH_LABELS,
    annotations=ANNOTATIONS,
)
service_ports = st.builds(
    ServicePort, PORT_NUMBERS, PORT_NAMES, st.sampled_from(["TCP", "TCP", "UDP"])
)
services = st.builds(
    Service,
    namespace=st.sampled_from(NAMESPACES),
    name=st.sampled_from(["s", "t"]),
    kind=st.sampled_from(ServiceKind),
    cluster_addresses=st.lists(
        st.sampled_from(["10.96.0.1", "10.96.0.2", "fd00:96::1"]), max_size=2, unique=True
    ).map(tuple),
    ports=st.lists(service_ports, max_size=3).map(tuple),
    client_ip_affinity=st.booleans(),
    local_endpoints_only=st.booleans(),
    traffic_distribution=st.sampled_from(TrafficDistribution),
    publish_not_ready_addresses=st.booleans(),
    labels=MESH_LABELS,
    annotations=ANNOTATIONS,
)


def endpoint_slices() -> st.SearchStrategy[EndpointSlice]:
    def of(version: int) -> st.SearchStrategy[EndpointSlice]:
        texts = ["10.0.0.1", "10.0.0.2", "10.0.0.3"] if version == 4 else ["fd00::1"]
        endpoints = st.builds(
            Endpoint,
            addresses=st.sampled_from(texts).map(lambda text: (text,)),
            ready=st.booleans(),
            serving=st.booleans(),
            terminating=st.booleans(),
            node=st.sampled_from(["", *NODES]),
            zone=st.sampled_from(["", "x"]),
        )
        return st.builds(
            EndpointSlice,
            namespace=st.sampled_from(NAMESPACES),
            name=st.sampled_from(["a", "b"]),
            service=st.sampled_from(["s", "t"]),
            ip_version=st.just(version),
            ports=st.lists(st.builds(EndpointPort, PORT_NUMBERS, PORT_NAMES), max_size=2).map(
                tuple
            ),
            endpoints=st.lists(endpoints, max_size=3).map(tuple),
        )

    return st.sampled_from([4, 6]).flatmap(of)


cgroups = st.dictionaries(st.sampled_from(["u1", "u2"]), st.integers(1, 3), max_size=2)
traffic = st.builds(
    TrafficOverrides,
    retry_attempts=st.sampled_from([None, 0, 1]),
    max_requests=st.sampled_from([None, 5]),
    outlier_detection=st.sampled_from([None, OutlierDetection()]),
    access_log=st.sampled_from([None, *AccessLog]),
)
settings = st.builds(
    Settings,
    fail_open=st.booleans(),
    acceleration=st.booleans(),
    traffic=traffic,
    identity=st.booleans(),
    trust_domain=st.sampled_from(["cluster.local", "example.org"]),
)

targets = st.lists(
    st.builds(
        TargetRef,
        kind=st.just("Service"),
        name=st.sampled_from(["s", "t", "nowhere"]),
        section_name=st.sampled_from(["", "", "http", "tcp"]),
    ),
    max_size=3,
    unique=True,
).map(tuple)
traffic_policies = st.builds(
    TrafficPolicy,
    namespace=st.sampled_from(NAMESPACES),
    name=st.sampled_from(["v", "w"]),
    generation=st.integers(1, 2),
    created_seconds=st.integers(0, 1),
    targets=targets,
    traffic=traffic,
)
authorization_policies = st.builds(
    AuthorizationPolicy,
    namespace=st.sampled_from(NAMESPACES),
    name=st.just("x"),
    targets=targets,
    selector=st.sampled_from([None, {}, {"culvert.dev/mesh": "enabled"}]),
    rules=st.sampled_from([(), (Rule(),)]),
)
peer_authentications = st.builds(
    PeerAuthentication,
    namespace=st.sampled_from([*NAMESPACES, "culvert-system"]),
    name=st.sampled_from(["v", "w"]),
    targets=targets,
    mode=st.sampled_from([MtlsMode.STRICT, MtlsMode.PERMISSIVE]),
    port_modes=st.sampled_from([{}, {80: MtlsMode.STRICT}, {80: MtlsMode.DISABLE}]),
)
mesh_configs = st.one_of(
    st.none(),
    st.builds(
        MeshConfig,
        fail_open=st.sampled_from([None, True]),
        acceleration=st.sampled_from([None, True, False]),
        excluded_namespaces=st.sampled_from([None, frozenset({"two"})]),
        traffic=traffic,
    ),
)


def changes() -> st.SearchStrategy[Mapping[str, Any]]:
    """What replaces a part of the world: an object put or removed, or a whole small part."""
    return st.one_of(
        namespaces.map(lambda value: {"namespaces": (value.name, value)}),
        nodes.map(lambda value: {"nodes": (value.name, value)}),
        workloads.map(lambda value: {"workloads": (value.key, value)}),
        services.map(lambda value: {"services": (value.key, value)}),
        endpoint_slices().map(lambda value: {"endpoint_slices": (value.key, value)}),
        st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(["s", "t"])).map(
            lambda key: {"services": (ObjectKey(*key), None)}
        ),
        st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(["a", "b"])).map(
            lambda key: {"endpoint_slices": (ObjectKey(*key), None)}
        ),
        st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(["p", "q"])).map(
            lambda key: {"workloads": (ObjectKey(*key), None)}
        ),
        st.sampled_from(NAMESPACES).map(lambda name: {"namespaces": (name, None)}),
        cgroups.map(lambda value: {"local_cgroups": value}),
        settings.map(lambda value: {"settings": value}),
        mesh_configs.map(lambda value: {"mesh_config": value}),
        traffic_policies.map(lambda value: {"traffic_policies": (value.key, value)}),
        st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(["v", "w"])).map(
            lambda key: {"traffic_policies": (ObjectKey(*key), None)}
        ),
        peer_authentications.map(lambda value: {"peer_authentications": (value.key, value)}),
        authorization_policies.map(lambda value: {"authorization_policies": (value.key, value)}),
        st.sampled_from(NAMESPACES).map(
            lambda name: {"authorization_policies": (ObjectKey(name, "x"), None)}
        ),
        st.sampled_from(
            [{}, {"spiffe://cluster.local/ns/one/sa/default": 1}, {"spiffe://other": 65535}]
        ).map(lambda numbers: {"identity_numbers": numbers}),
    )


def changed(world: World, change: Mapping[str, Any]) -> World:
    """The world after one change; every object that it does not name keeps its identity."""
    ((field, value),) = change.items()
    if isinstance(value, tuple):
        key, new = value
        entries = {k: v for k, v in getattr(world, field).items() if k != key}
        if new is not None:
            entries[key] = new
        value = entries
    return msgspec.structs.replace(world, **{field: value})


BUSY = World(
    namespaces={name: Namespace(name, {"culvert.dev/mesh": "enabled"}) for name in NAMESPACES},
    nodes={
        name: Node(name, {ZONE_LABEL: zone}, (address,))
        for name, zone, address in zip(NODES, "xy", ("192.0.2.1", "192.0.2.2"), strict=True)
    },
    workloads={
        ObjectKey("one", name): Workload("one", name, uid, node, (address,), Phase.RUNNING)
        for name, uid, address, node in (
            ("p", "u1", "10.0.0.1", "node-a"),
            ("q", "u2", "10.0.0.2", "node-a"),
            ("r", "u3", "10.0.0.3", "node-b"),
        )
    },
    services={
        ObjectKey("one", name): Service(
            "one",
            name,
            cluster_addresses=("10.96.0.1",),
            ports=(ServicePort(80, "http"),),
            traffic_distribution=TrafficDistribution.SAME_ZONE,
        )
        for name in ("s", "t")
    },
    endpoint_slices={
        ObjectKey("one", "a"): EndpointSlice(
            "one",
            "a",
            "s",
            4,
            (EndpointPort(80, "http"),),
            tuple(
                Endpoint((address,), node=node)
                for address, node in zip(("10.0.0.1", "10.0.0.3"), NODES, strict=True)
            ),
        )
    },
    local_cgroups={"u1": 1, "u2": 2},
    settings=Settings(identity=True),
)
"""A world in which most single changes show: two Services claim one address, zones matter."""

starts = st.sampled_from([World(), BUSY])
