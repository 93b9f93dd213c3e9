"""Which controller leads, as an agent reads it: where it is, and trust in its certificate alone."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import msgspec

from culvert.kube.client import KubeClient
from culvert.kube.errors import AccessError, ApiError, ApiUnreachable
from culvert.model.leader import LeaderEntry, leader_config_map

# From the API server's memory. It may be a moment old, as a leader's entry may be in any case, and
# costs etcd nothing when the agents of all nodes look for a leader.
_FROM_CACHE = {"resourceVersion": "0"}


class LeaderUnknownError(Exception):
    """It cannot be read who leads; says why."""


@dataclass(frozen=True, slots=True)
class Leader:
    """What it has published, and how to trust it."""

    entry: LeaderEntry
    trust: ssl.SSLContext


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] = {}


_CONFIG_MAP = msgspec.json.Decoder(_ConfigMap)


async def read_leader(api: KubeClient, namespace: str, service: str) -> Leader:
    """Read the ConfigMap of a controller's Service.

    Raises:
        LeaderUnknownError: it cannot be read, or holds no certificate or address.
    """
    name = leader_config_map(service)
    path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
    try:
        entry = LeaderEntry.read(_CONFIG_MAP.decode(await api.get(path, _FROM_CACHE)).data)
        # Not create_default_context: that takes the system's authorities where there is none.
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.load_verify_locations(cadata=entry.certificate)
    except (ApiError, ApiUnreachable, AccessError) as error:
        raise LeaderUnknownError(f"the controller's certificate cannot be read: {error}") from None
    except (ValueError, ssl.SSLError, msgspec.MsgspecError) as error:
        raise LeaderUnknownError(
            f"ConfigMap {namespace}/{name} holds no certificate or address of a controller: "
            f"{error}; the one that leads writes it anew within seconds"
        ) from None
    trust.minimum_version = ssl.TLSVersion.TLSv1_3
    return Leader(entry, trust)
