"""What holds for the traffic to one Service port, after everybody has been asked.

From weak to strong: what the mesh does by itself, the mesh's settings (MeshConfig), the Service's
own fields, its annotations, a TrafficPolicy for the Service, a TrafficPolicy for the port. Each
item is settled by itself: who says nothing of it leaves it as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from culvert.compile.protocol import Protocol
from culvert.model.service import Service, ServicePort, TrafficDistribution
from culvert.model.settings import Settings
from culvert.model.traffic import (
    NO_AFFINITY,
    NOTHING_SAID,
    UNSEEN_BY_ENDPOINT,
    AccessLog,
    AffinityKind,
    LoadBalancer,
    Locality,
    OutlierDetection,
    RetryCondition,
    SessionAffinity,
    TrafficOverrides,
)

_LOCALITIES = {
    TrafficDistribution.ANYWHERE: None,
    TrafficDistribution.SAME_ZONE: Locality.ZONE,
    TrafficDistribution.SAME_NODE: Locality.NODE,
}
_OF_REQUESTS = (AffinityKind.COOKIE, AffinityKind.HEADER)


@dataclass(frozen=True, slots=True)
class ServiceTraffic:
    """The settled value. Field names and units are those of ``TrafficOverrides``.

    A limit that is ``None`` is none; a duration of 0 is no limit.
    """

    request_timeout_seconds: float = 0.0
    idle_timeout_seconds: float = 0.0
    connect_timeout_seconds: float = 5.0
    retry_attempts: int = 2
    retry_on: tuple[RetryCondition, ...] = UNSEEN_BY_ENDPOINT
    per_try_timeout_seconds: float = 0.0
    max_connections: int | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_retries: int | None = None
    outlier_detection: OutlierDetection | None = None
    # Connections differ in length: fewest outstanding spreads them better than taking turns.
    load_balancer: LoadBalancer = LoadBalancer.LEAST_REQUEST
    session_affinity: SessionAffinity = NO_AFFINITY
    locality: Locality = Locality.ANY
    access_log: AccessLog = AccessLog.OFF


@dataclass(frozen=True, slots=True)
class ServicePolicy:
    """What TrafficPolicies say of one Service: of all its ports, and of single ones by name."""

    service: TrafficOverrides = NOTHING_SAID
    by_port_name: Mapping[str, TrafficOverrides] = field(default_factory=dict)


NO_POLICY = ServicePolicy()


def settle_traffic(
    settings: Settings,
    service: Service,
    port: ServicePort,
    protocol: Protocol,
    annotations: TrafficOverrides,
    policy: ServicePolicy = NO_POLICY,
) -> ServiceTraffic:
    """What holds for one port of a Service. Opaque ports have no cookies and headers to look at."""
    said = merge(
        settings.traffic,
        _own_fields(service),
        annotations,
        policy.service,
        policy.by_port_name.get(port.name, NOTHING_SAID),
    )
    settled = ServiceTraffic(
        **{"connect_timeout_seconds": settings.connect_timeout_seconds} | _items(said)
    )
    if not protocol.is_http and settled.session_affinity.kind in _OF_REQUESTS:
        return replace(settled, session_affinity=NO_AFFINITY)
    return settled


def merge(*overrides: TrafficOverrides) -> TrafficOverrides:
    """One value from several, later ones stronger, item by item."""
    said: dict[str, Any] = {}
    for override in overrides:
        said |= _items(override)
    return TrafficOverrides(**said)


def _items(override: TrafficOverrides) -> dict[str, Any]:
    if override is NOTHING_SAID:
        return {}
    items = msgspec.structs.asdict(override)
    return {name: value for name, value in items.items() if value is not None}


def _own_fields(service: Service) -> TrafficOverrides:
    return TrafficOverrides(
        session_affinity=(
            SessionAffinity(AffinityKind.CLIENT_IP) if service.client_ip_affinity else None
        ),
        locality=_LOCALITIES[service.traffic_distribution],
    )
