"""Endpoint slices: where a Service's connections may go."""

from __future__ import annotations

import msgspec

from culvert.model.key import ObjectKey


class EndpointPort(msgspec.Struct, frozen=True):
    """A port of every endpoint in the slice, matched to the Service's port by ``name``."""

    port_host: int
    name: str = ""
    protocol: str = "TCP"


class Endpoint(msgspec.Struct, frozen=True):
    """One backend. ``addresses`` are interchangeable; Kubernetes uses the first."""

    addresses: tuple[str, ...]
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    node: str = ""
    zone: str = ""
    target: ObjectKey | None = None
    """The pod behind it, where it is one."""


class EndpointSlice(msgspec.Struct, frozen=True):
    """A part of a Service's endpoints, all of one address family."""

    namespace: str
    name: str
    service: str
    """Name of the Service it belongs to (label ``kubernetes.io/service-name``)."""
    ip_version: int
    ports: tuple[EndpointPort, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return ObjectKey(self.namespace, self.name)

    @property
    def service_key(self) -> ObjectKey:
        """Namespace and name of the Service it belongs to."""
        return ObjectKey(self.namespace, self.service)
