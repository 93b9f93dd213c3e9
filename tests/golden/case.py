"""Reading a golden case and writing what it compiles to in a form that reviews well."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml
from culvert.compile.node import compile_constant
from culvert.compile.packing import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    EXTENSION_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
    SCOPED_ROUTE_TYPE,
)
from culvert.model.desired import Desired, Resource
from culvert.model.outcome import ObjectOutcome
from culvert.model.redirect import ANY_POD, ANY_PORT, Address16, RedirectTable, address_text
from culvert.model.settings import Settings
from culvert.model.world import World
from culvert.sources.manifests import Manifests, Signature, assemble_world, parse_manifest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2, scoped_route_pb2
from google.protobuf import json_format

MESSAGES: Mapping[str, Any] = {
    LISTENER_TYPE: listener_pb2.Listener,
    CLUSTER_TYPE: cluster_pb2.Cluster,
    ENDPOINT_TYPE: endpoint_pb2.ClusterLoadAssignment,
    SCOPED_ROUTE_TYPE: scoped_route_pb2.ScopedRouteConfiguration,
    ROUTE_TYPE: route_pb2.RouteConfiguration,
    EXTENSION_TYPE: extension_pb2.TypedExtensionConfig,
}
MAPS = (
    "filter_metadata",
    "json_format",
    "map",
    "typed_extension_protocol_options",
    "typed_per_filter_config",
)
STRUCTS = ("filter_metadata", "value")
FILES = {
    LISTENER_TYPE: "listeners.yaml",
    CLUSTER_TYPE: "clusters.yaml",
    ENDPOINT_TYPE: "endpoints.yaml",
    SCOPED_ROUTE_TYPE: "routes.yaml",
    ROUTE_TYPE: "pod_routes.yaml",
    EXTENSION_TYPE: "extensions.yaml",
}


@dataclass(frozen=True)
class Case:
    """``in.yaml``: a document of kind ``Case`` (node, cgroups, settings), then manifests."""

    name: str
    node: str
    world: World
    show_constant: bool


def read_case(folder: Path) -> Case:
    head, _, manifests = (folder / "in.yaml").read_text().partition("\n---\n")
    case = yaml.safe_load(head)
    assert case.pop("kind") == "Case"
    file = parse_manifest(Path("in.yaml"), manifests.encode(), Signature(0, 0, 0))
    world = assemble_world(
        Manifests({Path("in.yaml"): file}),
        msgspec.convert(case.get("settings", {}), Settings),
        case.get("cgroups", {}),
    )
    world = msgspec.structs.replace(world, identity_numbers=case.get("identityNumbers", {}))
    return Case(folder.name, case["node"], world, case.get("showConstant", False))


def render(case: Case, desired: Desired) -> dict[str, str]:
    """File name -> text; resources that are the same for every world only where asked for."""
    constant = () if case.show_constant else compile_constant(desired.settings)
    hidden = {(resource.type_url, resource.name) for resource in constant}
    files = {
        FILES[type_url]: _yaml(
            _message(resource)
            for name, resource in sorted(resources.items())
            if (type_url, name) not in hidden
        )
        for type_url, resources in desired.resources.items()
    }
    files["redirect.yaml"] = _yaml([_redirect(desired.redirect)])
    files["findings.yaml"] = _yaml(
        [f"{finding} [{finding.severity}]" for finding in desired.findings]
    )
    files["outcomes.yaml"] = _yaml(_outcome(outcome) for outcome in desired.outcomes)
    return {name: text for name, text in files.items() if text}


def _outcome(outcome: ObjectOutcome) -> Mapping[str, Any]:
    return {
        "object": f"{outcome.kind} {outcome.key}",
        "accepted": f"{outcome.accepted} {outcome.reason}: {outcome.message}",
        "resolved_refs": f"{outcome.resolved_refs} {outcome.resolved_refs_reason}: "
        f"{outcome.resolved_refs_message}",
        "programmed_by_design": outcome.programmed_by_design,
        "resources": [f"{kind.rsplit('.', 1)[-1]} {name}" for kind, name in outcome.resource_names],
        "carried_by_everything": outcome.carried_by_everything,
        "destinations": [_destination(key.address, key.port_host) for key in outcome.destinations],
    }


def _message(resource: Resource) -> Any:
    text = json_format.MessageToJson(
        MESSAGES[resource.type_url].FromString(resource.body), preserving_proto_field_name=True
    )
    return _with_maps_in_order(json.loads(text))


def _with_maps_in_order(value: Any) -> Any:
    """Protobuf's maps have no order of their own; fields keep theirs."""
    if isinstance(value, list):
        return [_with_maps_in_order(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _sorted(item)
        if key in STRUCTS
        else _with_maps_in_order(dict(sorted(item.items())) if key in MAPS else item)
        for key, item in value.items()
    }


def _sorted(value: Any) -> Any:
    """A ``Struct`` is a map at every level."""
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _sorted(item) for key, item in sorted(value.items())}


def _redirect(table: RedirectTable) -> Mapping[str, Any]:
    shown = {
        "destinations": {
            _destination(key.address, key.port_host): _words(
                destination.listener.name, destination.flags
            )
            for key, destination in sorted(table.destinations.items())
        },
        "pods": {
            cgroup_id: {
                **({"identity_number": pod.identity_number} if pod.identity_number else {}),
                "flags": _words(pod.flags),
                "addresses": [address_text(address) for address in pod.addresses],
                "excluded_ports": sorted(pod.excluded_ports),
                "excluded_cidrs": sorted(
                    f"{address_text(address)}/{bits}" for address, bits in pod.excluded_cidrs
                ),
            }
            for cgroup_id, pod in sorted(table.pods.items())
        },
        "local": {
            address_text(address): flag.name for address, flag in sorted(table.local.items())
        },
        "strict": {
            _destination(key.address, key.port_host): is_strict
            for key, is_strict in sorted(table.strict.items())
        },
        "strict_pods": {
            "any" if cgroup_id == ANY_POD else cgroup_id: is_strict
            for cgroup_id, is_strict in sorted(table.strict_pods.items())
        },
    }
    return {part: entries for part, entries in shown.items() if entries}


def _destination(address: Address16, port_host: int) -> str:
    return f"{address_text(address)} {'any' if port_host == ANY_PORT else port_host}"


def _words(*values: Any) -> str:
    names = (value if isinstance(value, str) else value.name for value in values)
    return " ".join(name for name in names if name not in (None, "NONE"))


def _yaml(documents: Iterable[Any]) -> str:
    shown = [document for document in documents if document]
    if not shown:
        return ""
    return yaml.safe_dump_all(shown, sort_keys=False, width=100, allow_unicode=True)
