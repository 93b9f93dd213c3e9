"""The settings in force: those a node was started with, and over them what the MeshConfig says."""

from __future__ import annotations

from typing import Any

import msgspec

from culvert.compile.traffic import merge
from culvert.model.policy import MeshConfig
from culvert.model.settings import Settings


def settings_in_force(settings: Settings, mesh_config: MeshConfig | None) -> Settings:
    """The node's settings with the mesh's in them.

    A MeshConfig can take acceleration and clients' addresses away, not give them: what a kernel can
    do is for the node's loader to say, and ``settings`` have its answer.
    """
    if mesh_config is None:
        return settings
    changes: dict[str, Any] = {
        "fail_open": mesh_config.fail_open,
        "acceleration_allowed": False if mesh_config.acceleration is False else None,
        "client_address": False if mesh_config.client_address is False else None,
        "receive_budget_bytes": mesh_config.receive_budget_bytes,
        "excluded_namespaces": mesh_config.excluded_namespaces,
        "trust_domain": mesh_config.trust_domain,
        "trust_domain_aliases": mesh_config.trust_domain_aliases,
        "token_issuers": mesh_config.token_issuers,
        "traffic": merge(settings.traffic, mesh_config.traffic),
    }
    said = {name: value for name, value in changes.items() if value is not None}
    return msgspec.structs.replace(settings, **said)
