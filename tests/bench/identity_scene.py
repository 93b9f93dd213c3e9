"""The ways from a client to servers that identities are measured on, all up at once.

=============  ==================================================================================
``direct``     no mesh
``sidecars``   a sidecar in each pod, mutual TLS between the two
``plain``      Culvert without identities
``mutual``     Culvert with identities: mutual TLS to other nodes, none on the node
``l4``, ``l7``  the same, to servers with a policy on the caller, and one on the request as well
``policies-N``  the same, to servers with N policies, the last of which allows the caller
=============  ==================================================================================

Servers are on the client's own node, and on another one. The pods of the first two ways are on
nodes without an agent; the mesh without identities has nodes of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from culvert.embedded.mesh_node import MeshOptions
from culvert.rig import Pod, Rig
from culvert.sources.manifests import ManifestSource

from tests.bench.identity_tls import Certificates
from tests.bench.scene import HTTP, INBOUND, OUTBOUND, PROTOCOL, TCP, Route
from tests.bench.sidecar import Sidecar
from tests.bench.tools import build
from tests.e2e.town import SERVER_PORT, Town

DIRECT, SIDECARS, PLAIN, MUTUAL, L4, L7 = "direct", "sidecars", "plain", "mutual", "l4", "l7"
POLICIES = (1, 10, 100, 1000)
HERE, THERE = "here", "there"
_SERVERS = (HTTP, TCP)


def many(policies: int) -> str:
    """The way to servers with so many policies."""
    return f"policies-{policies}"


class IdentityScene:
    """``routes`` are by way, place and kind of server. Goes with both rigs."""

    def __init__(self, mesh_rig: Rig, plain_rig: Rig, concurrency: int) -> None:
        self._concurrency = concurrency
        options = MeshOptions(identity=True, concurrency=concurrency)
        self.mutual = Town(mesh_rig, options)
        self.plain = Town(plain_rig, MeshOptions(concurrency=concurrency))
        for name in ("bare-a", "bare-b"):
            plain_rig.add_node(name)
        self._program = str(build("http_server", plain_rig.directory))
        self.routes: dict[tuple[str, str, str], Route] = {}
        self.sidecars: list[Sidecar] = []
        self.certificates = Certificates()
        self._services = 0

    def start(self) -> None:
        """Bring everything up and wait until it serves."""
        mutual, plain = self.mutual, self.plain
        clients = {
            DIRECT: self._pod(plain, "bare-a", "client-direct", meshed=False),
            SIDECARS: self._pod(plain, "bare-a", "client-sidecars", meshed=False),
            PLAIN: self._pod(plain, "node-a", "client"),
            MUTUAL: self._pod(mutual, "node-a", "client", account="client"),
        }
        for place, end in ((HERE, "a"), (THERE, "b")):
            self._add(plain, clients[DIRECT], DIRECT, place, f"bare-{end}", meshed=False)
            self._add(plain, clients[SIDECARS], SIDECARS, place, f"bare-{end}", meshed=False)
            self._add(plain, clients[PLAIN], PLAIN, place, f"node-{end}")
            for way in (MUTUAL, L4, L7):
                self._add(mutual, clients[MUTUAL], way, place, f"node-{end}")
        for count in POLICIES:
            self._add(mutual, clients[MUTUAL], many(count), HERE, "node-a")
        mutual.write("policies", *_all_policies())
        plain.mesh.start()
        mutual.mesh.start()
        self._add_sidecars(clients[SIDECARS])
        mutual.settle()

    def _add(
        self, town: Town, client: Pod, way: str, place: str, node: str, *, meshed: bool = True
    ) -> None:
        for kind in _SERVERS:
            name = f"{way}-{place}-{kind}"
            server = self._pod(town, node, name, way=way, meshed=meshed, account="server")
            server.start([self._program, str(SERVER_PORT)])
            self._services += 1
            address = f"10.96.0.{10 + self._services}"
            town.service(f"svc-{name}", address, [name], protocol=PROTOCOL[kind])
            self.routes[way, place, kind] = (
                Route(client, server.ipv4, SERVER_PORT)
                if way == DIRECT
                else Route(client, address, 80)
            )

    def _pod(
        self,
        town: Town,
        node: str,
        name: str,
        *,
        way: str = "",
        meshed: bool = True,
        account: str = "default",
    ) -> Pod:
        labels = {"culvert.dev/mesh": "enabled" if meshed else "disabled", "way": way}
        return town.pod(node, name, labels=labels, account=account)

    def _add_sidecars(self, client: Pod) -> None:
        town, certificates = self.plain, self.certificates
        world = ManifestSource((town.manifests,)).read()
        of_client = Sidecar(client, town.rig.directory)
        of_client.start(world, self._concurrency, (certificates, "client"))
        self.sidecars.append(of_client)
        for (way, place, kind), route in self.routes.items():
            if way != SIDECARS:
                continue
            server = town.pods[f"{way}-{place}-{kind}"]
            sidecar = Sidecar(server, town.rig.directory)
            sidecar.start(world, self._concurrency, (certificates, "server"))
            self.sidecars.append(sidecar)
            sidecar.capture_inbound(SERVER_PORT, INBOUND[PROTOCOL[kind]])
            of_client.capture_outbound(route.address, route.port, OUTBOUND[PROTOCOL[kind]])


def _all_policies() -> Iterable[dict[str, Any]]:
    yield _policy("l4", L4, {"from": _from("client")})
    operation = {"methods": ["GET"], "paths": ["/1024", "/65536"]}
    yield _policy("l7", L7, {"from": _from("client"), "to": [{"operation": operation}]})
    for count in POLICIES:
        for number in range(count):
            caller = "client" if number == count - 1 else f"other-{number}"
            yield _policy(f"{many(count)}-{number}", many(count), {"from": _from(caller)})


def _from(account: str) -> list[dict[str, Any]]:
    return [{"source": {"principals": [f"cluster.local/ns/default/sa/{account}"]}}]


def _policy(name: str, way: str, rule: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"way": way}}, "rules": [rule]},
    }
