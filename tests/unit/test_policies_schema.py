"""The schemas of the kinds and what is read of their objects are two tellings of one thing."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
import yaml
from culvert.sources.decode import decode_document, policy_wire
from culvert.sources.decode.policies import MESH_CONFIG_NAME

CHART = Path(__file__).parents[2] / "charts" / "culvert-crds"
SHAPES: dict[str, type[msgspec.Struct]] = {
    "MeshConfig": policy_wire.MeshConfigSpec,
    "TrafficPolicy": policy_wire.TrafficPolicySpec,
    "PeerAuthentication": policy_wire.PeerAuthenticationSpec,
    "AuthorizationPolicy": policy_wire.AuthorizationPolicySpec,
}


def definitions() -> dict[str, Any]:
    loaded = [yaml.safe_load(path.read_text()) for path in sorted(CHART.glob("files/*.yaml"))]
    return {definition["spec"]["names"]["kind"]: definition for definition in loaded}


def schema_of(kind: str) -> Any:
    (version,) = definitions()[kind]["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def fields_of_schema(schema: Any, path: str) -> set[str]:
    """Paths of all leaves: ``[]`` is an item of a list, ``{}`` a value of a map."""
    if "properties" in schema:
        return {
            found
            for name, inner in schema["properties"].items()
            for found in fields_of_schema(inner, f"{path}.{name}")
        }
    if schema.get("type") == "array":
        return fields_of_schema(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        return fields_of_schema(schema["additionalProperties"], f"{path}{{}}")
    return {f"{path}: {schema['type']}"}


def fields_of_shape(shape: Any, path: str) -> set[str]:
    shape = without_none(shape)
    if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
        hints = get_type_hints(shape)
        return {
            found
            for field in msgspec.structs.fields(shape)
            for found in fields_of_shape(hints[field.name], f"{path}.{field.encode_name}")
        }
    if get_origin(shape) is tuple:
        return fields_of_shape(get_args(shape)[0], f"{path}[]")
    if get_origin(shape) is dict:
        return fields_of_shape(get_args(shape)[1], f"{path}{{}}")
    return {f"{path}: { {str: 'string', int: 'integer', bool: 'boolean'}[shape] }"}


def without_none(shape: Any) -> Any:
    if get_origin(shape) in (Union, types.UnionType):
        (shape,) = (one for one in get_args(shape) if one is not type(None))
    return shape


def without_description(schema: Any, path: str) -> list[str]:
    here = [] if "description" in schema or path.endswith(".metadata") else [path]
    for name, inner in schema.get("properties", {}).items():
        here += without_description(inner, f"{path}.{name}")
    if schema.get("type") == "array" and schema["items"]["type"] == "object":
        here += without_description(schema["items"], f"{path}[]")
    return here


@pytest.mark.parametrize("kind", SHAPES)
def test_every_field_of_the_schema_is_read_and_no_other(kind: str) -> None:
    schema = schema_of(kind)["properties"]["spec"]
    assert fields_of_schema(schema, "spec") == fields_of_shape(SHAPES[kind], "spec")


@pytest.mark.parametrize("kind", SHAPES)
def test_every_field_is_explained(kind: str) -> None:
    inner = {"type": "object", "properties": schema_of(kind)["properties"], "description": "all"}
    assert without_description(inner, kind) in ([], [f"{kind}.status.conditions"])


def test_examples_of_the_chart_are_valid_objects() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    examples = yaml.safe_load(chart["annotations"]["artifacthub.io/crdsExamples"])
    assert {example["kind"] for example in examples} <= set(SHAPES)
    for example in examples:
        assert decode_document(example) is not None
        unknown = unknown_fields(example["spec"], schema_of(example["kind"])["properties"]["spec"])
        assert not unknown


def unknown_fields(value: Any, schema: Any) -> list[str]:
    if isinstance(value, list):
        return [name for item in value for name in unknown_fields(item, schema["items"])]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    unknown = [str(name) for name in value if name not in schema["properties"]]
    for name, inner in value.items():
        if name in schema["properties"]:
            unknown += unknown_fields(inner, schema["properties"][name])
    return unknown


def test_chart_names_every_kind_that_it_has() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    listed = yaml.safe_load(chart["annotations"]["artifacthub.io/crds"])
    assert {entry["kind"]: entry["name"] for entry in listed} == {
        kind: definition["metadata"]["name"] for kind, definition in definitions().items()
    }


def test_one_mesh_config_is_a_rule_of_its_schema() -> None:
    (rule,) = schema_of("MeshConfig")["x-kubernetes-validations"]
    assert f"'{MESH_CONFIG_NAME}'" in rule["rule"]
