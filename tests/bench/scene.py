"""The four ways from a client pod to a server pod, all up at once on one machine.

====  ==========================================================================================
a     direct, no mesh
b     a sidecar Envoy in each pod, traffic brought to it by iptables
c     the node's Envoy, its connections over TCP
d     the same Envoy process, its connections accelerated on both hops
====  ==========================================================================================

The pods of a and b are on a node of their own, which has no agent: no BPF program of ours is in
their way.
"""

from __future__ import annotations

from dataclasses import dataclass

from culvert.embedded.mesh_node import MeshOptions
from culvert.model.redirect import ProxyListener
from culvert.rig import Pod, Rig, netns
from culvert.sources.manifests import ManifestSource

from tests.bench.sidecar import Sidecar
from tests.bench.tools import build
from tests.e2e.town import SERVER_PORT, Town

VARIANTS = ("a", "b", "c", "d")
MESH_NODE = "node-a"
PLAIN_NODE = "node-plain"

HTTP, TCP, BULK = "http", "tcp", "bulk"
PROTOCOL = {HTTP: "http", TCP: "tcp", BULK: "tcp"}
OUTBOUND = {"http": ProxyListener.SERVICE_HTTP, "tcp": ProxyListener.SERVICE_TCP}
INBOUND = {"http": ProxyListener.POD_HTTP, "tcp": ProxyListener.POD_TCP}
_PORT = 80


@dataclass(frozen=True, slots=True)
class Route:
    """From a client pod to the address it connects to."""

    client: Pod
    address: str
    port: int

    @property
    def url(self) -> str:
        """For HTTP clients."""
        return f"http://{self.address}:{self.port}"


class Scene:
    """Makes the pods, starts servers, sidecars and the mesh; ``routes`` says where to send.

    Goes with the rig and the mesh it was given in a ``with`` statement.
    """

    def __init__(self, rig: Rig, variants: tuple[str, ...], concurrency: int) -> None:
        self.variants = variants
        self.town = Town(rig, MeshOptions(concurrency=concurrency), nodes=(MESH_NODE,))
        rig.add_node(PLAIN_NODE)
        self.routes: dict[tuple[str, str], Route] = {}
        self._concurrency = concurrency
        http_server = build("http_server", rig.directory)
        self.bulk_program = build("bulk", rig.directory)
        self._servers = {
            HTTP: [str(http_server), str(SERVER_PORT)],
            TCP: [str(http_server), str(SERVER_PORT)],
            BULK: [str(self.bulk_program), "serve", str(SERVER_PORT)],
        }
        self.sidecars: dict[str, Sidecar] = {}

    def start(self) -> None:
        """Bring everything up and wait until it serves."""
        for variant in self.variants:
            self._add(variant)
        self._let_ports_be_reused()
        self.town.mesh.start()
        if "b" in self.variants:
            self._add_sidecars()

    def _let_ports_be_reused(self) -> None:
        """A connection for each request takes more ports in a minute than there are."""
        nodes = [node.netns for node in self.town.rig.nodes.values()]
        for place in (*nodes, *(pod.netns for pod in self.town.pods.values())):
            with netns.entered(place):
                netns.write_sysctls({"net/ipv4/tcp_tw_reuse": "1"})

    def _add(self, variant: str) -> None:
        client = self._pod(variant, "client")
        for number, (kind, argv) in enumerate(self._servers.items()):
            name = f"{kind}-{variant}"
            server = self._pod(variant, name)
            server.start(argv)
            cluster_ip = f"10.96.{VARIANTS.index(variant)}.{10 + number}"
            self.town.service(
                f"service-{name}", cluster_ip, [name], port=_PORT, protocol=PROTOCOL[kind]
            )
            self.routes[variant, kind] = (
                Route(client, server.ipv4, SERVER_PORT)
                if variant == "a"
                else Route(client, cluster_ip, _PORT)
            )

    def _add_sidecars(self) -> None:
        world = ManifestSource((self.town.manifests,)).read()
        for name in ("client-b", *(f"{kind}-b" for kind in self._servers)):
            self.sidecars[name] = Sidecar(self.town.pods[name], self.town.rig.directory)
            self.sidecars[name].start(world, self._concurrency)
        for kind in self._servers:
            protocol, route = PROTOCOL[kind], self.routes["b", kind]
            self.sidecars["client-b"].capture_outbound(
                route.address, route.port, OUTBOUND[protocol]
            )
            self.sidecars[f"{kind}-b"].capture_inbound(SERVER_PORT, INBOUND[protocol])

    def _pod(self, variant: str, name: str) -> Pod:
        meshed = variant in "cd"
        return self.town.pod(
            MESH_NODE if meshed else PLAIN_NODE,
            f"client-{variant}" if name == "client" else name,
            labels={"culvert.dev/mesh": "enabled" if meshed else "disabled"},
            annotations={"culvert.dev/acceleration": "enabled" if variant == "d" else "disabled"},
        )
