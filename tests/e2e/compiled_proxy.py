"""Runs compiled resources in a real Envoy, inside a network namespace that ends with it.

Started by ``test_compile_envoy.py`` under ``unshare``; iptables' REDIRECT stands in for the eBPF
programs. Prints one JSON object: probe name -> what the client saw.
"""

from __future__ import annotations

import http.client
import json
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from culvert.compile.bootstrap import bootstrap_json, compile_bootstrap
from culvert.compile.node import compile_node
from culvert.compile.packing import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    SCOPED_ROUTE_TYPE,
    pack,
)
from culvert.model.desired import Desired
from culvert.model.redirect import (
    Destination,
    DestinationKey,
    ProxyListener,
    address16,
    address_text,
)
from culvert.model.settings import ListenerPorts, Settings
from culvert.model.world import World
from culvert.sources.manifests import ManifestSource
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)


def static_bootstrap(desired: Desired, folder: Path) -> Path:
    """A bootstrap that holds all of ``desired`` itself, for an Envoy without an xDS server."""
    bootstrap = compile_bootstrap("test", str(folder / "xds.sock"), str(folder / "admin.sock"))
    bootstrap.dynamic_resources.Clear()
    for resource in desired.resources[CLUSTER_TYPE].values():
        cluster = Cluster.FromString(resource.body)
        if cluster.type == Cluster.EDS:
            assignment = desired.resources[ENDPOINT_TYPE][cluster.eds_cluster_config.service_name]
            cluster.type = Cluster.STATIC
            cluster.load_assignment.CopyFrom(ClusterLoadAssignment.FromString(assignment.body))
            cluster.ClearField("eds_cluster_config")
        bootstrap.static_resources.clusters.append(cluster)
    scopes = [
        ScopedRouteConfiguration.FromString(resource.body)
        for resource in desired.resources[SCOPED_ROUTE_TYPE].values()
    ]
    if not scopes:
        # Only a static list of scopes may not be empty.
        empty = RouteConfiguration(name="none")
        key = ScopedRouteConfiguration.Key.Fragment(string_key="none")
        scopes.append(
            ScopedRouteConfiguration(
                name="none",
                key=ScopedRouteConfiguration.Key(fragments=[key]),
                route_configuration=empty,
            )
        )
    for name, resource in desired.resources[LISTENER_TYPE].items():
        listener = Listener.FromString(resource.body)
        if name == "service_http":
            network_filter = listener.filter_chains[-1].filters[-1]
            manager = manager_pb2.HttpConnectionManager.FromString(
                network_filter.typed_config.value
            )
            routes = manager.scoped_routes
            routes.ClearField("scoped_rds")
            routes.ClearField("rds_config_source")
            routes.scoped_route_configurations_list.scoped_route_configurations.extend(scopes)
            network_filter.typed_config.CopyFrom(pack(manager))
        bootstrap.static_resources.listeners.append(listener)
    path = folder / "bootstrap.json"
    path.write_text(bootstrap_json(bootstrap))
    return path


_PORTS = ListenerPorts()
PLAIN_PORTS = (_PORTS.service_http, _PORTS.service_tcp, _PORTS.pod_http, _PORTS.pod_tcp)
"""Where the proxy listens in a mesh without identities."""


class _Echo(socketserver.StreamRequestHandler):
    """Answers an HTTP/1 request with the bytes of its head."""

    def handle(self) -> None:
        while True:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = self.rfile.readline()
                if not line:
                    return
                head += line
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-CamelCase: kept\r\nContent-Length: ")
            self.wfile.write(str(len(head)).encode() + b"\r\n\r\n" + head)


class Greeter(socketserver.StreamRequestHandler):
    """Speaks first, then reads to the end, then answers: both half-closes are needed."""

    def handle(self) -> None:
        self.wfile.write(b"hello\n")
        self.wfile.write(b"got " + self.rfile.read())


def serve(address: str, port: int, handler: type[socketserver.BaseRequestHandler]) -> None:
    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        allow_reuse_address = True
        daemon_threads = True

    server = Server((address, port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def get(address: str, port: int, path: str, headers: dict[str, str]) -> dict[str, Any]:
    connection = http.client.HTTPConnection(address, port, timeout=10)
    try:
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return {
            "status": response.status,
            "headers": response.getheaders(),
            "request": response.read().decode(),
        }
    except (ConnectionError, http.client.HTTPException) as error:
        return {"error": type(error).__name__}
    finally:
        connection.close()


def greet(address: str, port: int) -> dict[str, Any]:
    with socket.create_connection((address, port), timeout=10) as client:
        try:
            greeting = client.makefile("rb").readline().decode()
            if greeting:
                client.sendall(b"bytes")
                client.shutdown(socket.SHUT_WR)
            answer = client.makefile("rb").read().decode()
        except ConnectionError as error:
            return {"error": type(error).__name__}
        return {"greeting": greeting, "answer": answer}


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def redirect(world: World, desired: Desired) -> None:
    ports = world.settings.listener_ports
    unknown = {
        DestinationKey(address16("10.96.0.99"), 80): Destination(ProxyListener.SERVICE_HTTP),
        DestinationKey(address16("10.96.0.99"), 81): Destination(ProxyListener.SERVICE_TCP),
    }
    for key, destination in (desired.redirect.destinations | unknown).items():
        address = address_text(key.address)
        tool, length = ("ip6tables", 128) if ":" in address else ("iptables", 32)
        run("ip", "address", "replace", f"{address}/{length}", "dev", "lo")
        if destination.listener is ProxyListener.DIRECT:
            continue
        match = ["--dport", str(key.port_host)] if key.port_host else []
        run(
            *(tool, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", address, *match),
            # The proxy's own connections leave alone what they go to.
            *("-m", "owner", "!", "--gid-owner", "4242", "-j", "REDIRECT", "--to-ports"),
            str(ports.of(destination.listener)),
        )


def main() -> None:
    """Run every probe. Arguments: folder for files, manifest, envoy binary."""
    folder, manifest, envoy = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    settings = Settings(proxy_addresses=("127.0.0.1", "::1"))
    world = ManifestSource([manifest], settings).read()
    run("ip", "link", "set", "lo", "up")
    with running_proxy(folder, world, envoy):
        serve("127.0.0.1", 9001, _Echo)
        serve("::1", 9001, _Echo)
        serve("127.0.0.1", 9002, Greeter)
        serve("10.244.1.5", 9003, _Echo)
        serve("10.244.1.5", 9004, Greeter)
        spoof = {"Host": "web", "X-Culvert-Destination": "10.96.0.99:80", "X-CamelReq": "1"}
        forwarded = {
            "Host": "web",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-For": "10.9.9.9",
            "X-Request-Id": "mine",
        }
        answers = {
            "http": get("10.96.0.10", 80, "/a//b%2Fc/../d?e", {"Host": "web", "X-CamelReq": "1"}),
            "http_ipv6": get("fd00:10:96::10", 80, "/", {"Host": "web"}),
            "spoofed": get("10.96.0.10", 80, "/", spoof),
            "forwarded": get("10.96.0.10", 80, "/", forwarded),
            "unknown": get("10.96.0.99", 80, "/", {"Host": "web"}),
            "tcp_unknown": greet("10.96.0.99", 81),
            "no_endpoint": get("10.96.0.12", 80, "/", {"Host": "web"}),
            "pod_http": get("10.244.1.5", 9003, "/", {"Host": "web"}),
            "tcp": greet("10.96.0.11", 81),
            "sticky": greet("10.96.0.13", 81),
            "pod_tcp": greet("10.244.1.5", 9004),
            "tcp_no_endpoint": greet("10.96.0.12", 81),
            **{
                f"listener {address} {port}": get(address, port, "/", {"Host": "web"})
                for address in settings.proxy_addresses
                for port in PLAIN_PORTS
            },
            "after": get("10.96.0.10", 80, "/", {"Host": "web"}),
        }
    print(json.dumps(answers))


@contextmanager
def running_proxy(folder: Path, world: World, envoy: str) -> Iterator[None]:
    """Envoy with what a world compiles to for node-a, reached by redirection; its log in a file.

    Everything is written to the log when this ends.
    """
    desired = compile_node(world, "node-a")
    bootstrap = static_bootstrap(desired, folder)
    redirect(world, desired)
    with (folder / "envoy.log").open("wb") as log:
        proxy = subprocess.Popen(
            [envoy, "-c", str(bootstrap), "--concurrency", "1", "-l", "warning"],
            stdout=log,
            stderr=log,
            group=4242,
            extra_groups=[],
        )
    try:
        await_listeners(world.settings, proxy)
        yield
    finally:
        proxy.terminate()
        proxy.wait()


def await_listeners(settings: Settings, proxy: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while proxy.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("::1", settings.listener_ports.pod_tcp)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the proxy did not start")


if __name__ == "__main__":
    main()
