"""A sidecar: an Envoy in the pod's own namespace, its traffic brought to it by iptables.

It holds what the node's Envoy holds: the same compiled listeners, filters, routes and clusters.
Only the way they come in differs, a file instead of ADS.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
from culvert.compile.bootstrap import bootstrap_json, compile_bootstrap
from culvert.compile.node import compile_node
from culvert.compile.packing import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    SCOPED_ROUTE_TYPE,
)
from culvert.embedded.unix_http import fetch
from culvert.model.redirect import ProxyListener
from culvert.model.settings import ListenerPorts
from culvert.model.world import World
from culvert.rig import Pod
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)

from tests.bench.identity_tls import Certificates, add_mutual_tls

_GROUP_ID = 1337
"""Of the sidecar, so that iptables knows its connections from the application's."""
_START_SECONDS = 30.0


def sidecar_bootstrap(world: World, name: str, admin_socket: str) -> Bootstrap:
    """A bootstrap that holds everything ``world`` compiles to, and asks nobody for more."""
    settings = msgspec.structs.replace(world.settings, proxy_addresses=("0.0.0.0",))
    resources = compile_node(msgspec.structs.replace(world, settings=settings), name).resources
    assignments = {
        key: ClusterLoadAssignment.FromString(one.body)
        for key, one in resources[ENDPOINT_TYPE].items()
    }
    scopes = [
        ScopedRouteConfiguration.FromString(one.body)
        for one in resources[SCOPED_ROUTE_TYPE].values()
    ]
    bootstrap = compile_bootstrap(name, "/none", admin_socket)
    bootstrap.ClearField("dynamic_resources")
    del bootstrap.static_resources.clusters[:]
    for one in resources[CLUSTER_TYPE].values():
        bootstrap.static_resources.clusters.append(
            _static_cluster(Cluster.FromString(one.body), assignments)
        )
    for one in resources[LISTENER_TYPE].values():
        bootstrap.static_resources.listeners.append(
            _static_listener(Listener.FromString(one.body), scopes)
        )
    return bootstrap


def _static_cluster(cluster: Cluster, assignments: dict[str, ClusterLoadAssignment]) -> Cluster:
    if cluster.type == Cluster.EDS:
        cluster.load_assignment.CopyFrom(assignments[cluster.eds_cluster_config.service_name])
        cluster.load_assignment.cluster_name = cluster.name
        cluster.ClearField("eds_cluster_config")
        cluster.type = Cluster.STATIC
    return cluster


def _static_listener(listener: Listener, scopes: Iterable[ScopedRouteConfiguration]) -> Listener:
    for chain in listener.filter_chains:
        for one in chain.filters:
            manager = manager_pb2.HttpConnectionManager()
            if not one.typed_config.Unpack(manager) or not manager.HasField("scoped_routes"):
                continue
            manager.scoped_routes.ClearField("scoped_rds")
            manager.scoped_routes.ClearField("rds_config_source")
            routes = manager.scoped_routes.scoped_route_configurations_list
            routes.scoped_route_configurations.extend(scopes)
            one.typed_config.Pack(manager)
    return listener


class Sidecar:
    """The sidecar of one pod; ends with the rig."""

    def __init__(self, pod: Pod, directory: Path) -> None:
        self._pod = pod
        self._ports = ListenerPorts()
        self._admin_socket = directory / f"sidecar-{pod.name}.sock"
        self._bootstrap = directory / f"sidecar-{pod.name}.json"
        self._log = directory / f"sidecar-{pod.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self, world: World, concurrency: int, tls: tuple[Certificates, str] | None = None
    ) -> None:
        """Start Envoy and wait until it serves; with ``tls`` as a service account."""
        bootstrap = sidecar_bootstrap(world, self._pod.name, str(self._admin_socket))
        if tls is not None:
            add_mutual_tls(bootstrap, *tls)
        self._bootstrap.write_text(bootstrap_json(bootstrap))
        envoy = Path(sys.executable).with_name("envoy")
        argv = ["setpriv", "--regid", str(_GROUP_ID), "--clear-groups", str(envoy)]
        argv += ["-c", str(self._bootstrap), "--disable-hot-restart", "--log-level", "warning"]
        argv += ["--concurrency", str(concurrency)]
        with self._log.open("wb") as log:
            self.process = self._pod.start(argv, container="sidecar", stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while not self._serves():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"the sidecar of {self._pod.name} did not start: "
                    + self._log.read_text(errors="replace")[-500:]
                )
            time.sleep(0.05)

    def capture_outbound(self, address: str, port: int, listener: ProxyListener) -> None:
        """Bring the application's connections to a Service here, not those of the sidecar."""
        self._add_rule(
            *("OUTPUT", "-d", address, "-p", "tcp", "--dport", str(port)),
            *("-m", "owner", "!", "--gid-owner", str(_GROUP_ID)),
            *("-j", "REDIRECT", "--to-ports", str(self._ports.of(listener))),
        )

    def capture_inbound(self, port: int, listener: ProxyListener) -> None:
        """Bring connections from other pods to a port here."""
        self._add_rule(
            *("PREROUTING", "-p", "tcp", "--dport", str(port)),
            *("-j", "REDIRECT", "--to-ports", str(self._ports.of(listener))),
        )

    def stats(self, pattern: str) -> dict[str, int]:
        """Its counters and gauges whose names match the regular expression."""
        _, body = fetch(self._admin_socket, f"/stats?format=json&filter={pattern}")
        return {
            one["name"]: one["value"]
            for one in json.loads(body)["stats"]
            if isinstance(one.get("value"), int)
        }

    def _add_rule(self, *rule: str) -> None:
        done = self._pod.run(["iptables", "-w", "-t", "nat", "-A", *rule])
        if done.returncode:
            raise RuntimeError(f"iptables: {done.stderr.decode().strip()}")

    def _serves(self) -> bool:
        try:
            return fetch(self._admin_socket, "/ready")[0] == 200
        except OSError:
            return False
