"""Settings of the mesh itself, the same for every object."""

from __future__ import annotations

import msgspec

from culvert.model.redirect import ProxyListener
from culvert.model.token_issuer import TokenIssuer
from culvert.model.traffic import NOTHING_SAID, TrafficOverrides


class ListenerPorts(msgspec.Struct, frozen=True):
    """Port of each proxy listener, in host order."""

    service_http: int = 15001
    service_tcp: int = 15002
    pod_http: int = 15003
    pod_tcp: int = 15004
    pod_mesh: int = 15005
    pod_local_tcp: int = 15006
    pod_local_http: int = 15007

    def of(self, listener: ProxyListener) -> int:
        """The port of a listener.

        Raises:
            KeyError: ``listener`` is ``DIRECT``, which has no port.
        """
        return {
            ProxyListener.SERVICE_HTTP: self.service_http,
            ProxyListener.SERVICE_TCP: self.service_tcp,
            ProxyListener.POD_HTTP: self.pod_http,
            ProxyListener.POD_TCP: self.pod_tcp,
            ProxyListener.POD_MESH: self.pod_mesh,
            ProxyListener.POD_LOCAL_TCP: self.pod_local_tcp,
            ProxyListener.POD_LOCAL_HTTP: self.pod_local_http,
        }[listener]


class Settings(msgspec.Struct, frozen=True):
    """Defaults and limits.

    ``proxy_addresses`` are where the proxy listens on every node, at most one per family. Both
    byte limits belong to the accelerator: ``receive_budget_bytes`` is how much a receiver may
    have queued, ``redirect_max_bytes`` the largest write that leaves TCP. ``acceleration`` is the
    default of pods that do not say; without ``acceleration_allowed`` no pod is accelerated.
    """

    proxy_addresses: tuple[str, ...] = ("169.254.77.1", "fd77::1")
    listener_ports: ListenerPorts = ListenerPorts()
    fail_open: bool = False
    acceleration: bool = True
    acceleration_allowed: bool = True
    excluded_namespaces: frozenset[str] = frozenset({"kube-system"})
    connect_timeout_seconds: float = 5.0
    connection_buffer_bytes: int = 64 * 1024
    upstream_idle_seconds: float = 4.0
    """Idle HTTP connections to endpoints are closed after this, before common servers do."""
    receive_budget_bytes: int = 4 * 1024 * 1024
    redirect_max_bytes: int = 1 << 30
    drain_seconds: float = 30.0
    tunnel_port: int = 15008
    """Where each node's proxy takes connections from other nodes, in host order."""
    tunnel_connection_seconds: float = 3600.0
    """Connections between nodes take new streams for so long: the next have new certificates."""
    identity: bool = False
    """Whether pods have certificates, and traffic between nodes is encrypted."""
    client_address: bool = False
    """Whether pods are shown their clients' addresses instead of the node's."""
    accept_only: bool = False
    """Whether pods of other nodes are called without certificates, as some nodes take none yet."""
    trust_domain: str = "cluster.local"
    """The SPIFFE trust domain of the mesh."""
    trust_domain_aliases: tuple[str, ...] = ()
    """Trust domains whose identities count as those of the mesh: that of before a renaming."""
    token_issuers: tuple[TokenIssuer, ...] = ()
    """Whose JSON Web Tokens are believed, for policies that ask for claims."""
    root_namespace: str = "culvert-system"
    """Where a PeerAuthentication without selector and targets is for the pods of all namespaces."""
    traffic: TrafficOverrides = NOTHING_SAID
    """Defaults for every Service; the Service and its policies may say otherwise."""

    @property
    def trust_domains(self) -> tuple[str, ...]:
        """The trust domain and all others that count as the same, that of this mesh first."""
        others = (one for one in self.trust_domain_aliases if one != self.trust_domain)
        return (self.trust_domain, *others)
