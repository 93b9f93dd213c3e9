"""What can be wrong between the agent and a proxy, as findings (CV05xx)."""

from __future__ import annotations

from culvert.model.finding import Finding, Severity
from culvert.xds.resource_types import kind

RESOURCE_REJECTED = "CV0501"
REMOVAL_REJECTED = "CV0502"
UNKNOWN_TYPE = "CV0503"


def resource_rejected(type_url: str, name: str, version: str, held: str, error: str) -> Finding:
    """Envoy refused one resource; ``held`` is the version it keeps, empty for none."""
    effect = f"it keeps version {held}" if held else "it has no earlier version of it"
    return Finding(
        RESOURCE_REJECTED,
        f"{kind(type_url)} {name}",
        "",
        f"the proxy rejected version {version} and {effect}: {error}",
        "correct the object this resource is compiled from; it is sent again when it changes",
    )


def removal_rejected(type_url: str, name: str, held: str, error: str) -> Finding:
    """Envoy refused to remove one resource, of which it still has version ``held``."""
    return Finding(
        REMOVAL_REJECTED,
        f"{kind(type_url)} {name}",
        "",
        f"the proxy refused to remove version {held}: {error}",
        "restart the proxy if the stale resource does harm",
        Severity.WARNING,
    )


def unknown_type(type_url: str) -> Finding:
    """A proxy subscribed to a type for which nothing is ever compiled."""
    return Finding(
        UNKNOWN_TYPE,
        f"Proxy subscription {type_url}",
        "",
        "the proxy asks for a resource type that is not served here; it gets an empty answer",
        "remove the config source for this type from the proxy's bootstrap",
        Severity.WARNING,
    )
