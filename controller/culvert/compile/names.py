"""Names of Envoy resources: readable, parseable, unique.

========================  =======================================  ===============================
cluster, HTTP             ``outbound|ns/svc|80``                   one per Service port and family
cluster, TCP              ``tcp|10.96.0.10:5432``                  one per destination; the listener
                                                                   builds this name at run time
endpoints                 ``ns/svc|80``                            one per Service port and family
scope                     ``10.96.0.10:80``                        its key, so that an address that
                                                                   changes hands never conflicts
scope of a pod's own port ``pod 10.1.2.3:80``                      where policies judge requests
clusters of pod traffic   ``pod|http``, ``pod|tcp``                one each
cluster to other nodes    ``tunnel``                               one
another node's pod        ``tunnel|10.1.2.3``                      one per address; the proxy asks
                                                                   for it when it needs it
a node's own pods         ``inbound|http``, ``inbound|tcp``        to the listener that judges
                          ``local|http``, ``local|tcp``            from there to the pod
========================  =======================================  ===============================

Names of an IPv6 part of a Service end in ``|ipv6``: a connection to an IPv6 address goes to IPv6
endpoints, as it would without the mesh.
"""

from __future__ import annotations

from culvert.model.address import address_version
from culvert.model.key import ObjectKey

POD_HTTP_CLUSTER = "pod|http"
POD_TCP_CLUSTER = "pod|tcp"
TCP_CLUSTER_PREFIX = "tcp|"
TUNNEL_CLUSTER = "tunnel"
POD_SCOPE_PREFIX = "pod "
"""Tells the scopes of pods from those of Services, which are addresses as well."""
LOCAL_HTTP_CLUSTER = "local|http"
LOCAL_TCP_CLUSTER = "local|tcp"
TUNNEL_CLUSTER_PREFIX = "tunnel|"


def ip_version(address: str) -> int:
    """4 or 6.

    Raises:
        ValueError: ``address`` is not an IP address.
    """
    return address_version(address)


def socket_address_text(address: str, port_host: int) -> str:
    """``10.0.0.1:80`` or ``[fd00::1]:80``, as Envoy writes ``%DOWNSTREAM_LOCAL_ADDRESS%``."""
    return f"[{address}]:{port_host}" if ":" in address else f"{address}:{port_host}"


def endpoints_name(service: ObjectKey, port_host: int, version: int) -> str:
    """Name of the endpoints of one Service port and family."""
    return f"{service}|{port_host}" + ("|ipv6" if version == 6 else "")


def http_cluster_name(service: ObjectKey, port_host: int, version: int) -> str:
    """Name of the cluster behind an HTTP Service port."""
    return f"outbound|{endpoints_name(service, port_host, version)}"


def tcp_cluster_name(address: str, port_host: int) -> str:
    """Name of the cluster behind an opaque Service port, given where clients connect to."""
    return TCP_CLUSTER_PREFIX + socket_address_text(address, port_host)
