"""Extensions whose messages the protobuf package does not have yet.

xds-protos 1.85 is older than Envoy 1.40. Envoy takes a ``TypedStruct`` in the place of any message;
this can go, with the messages themselves used, once xds-protos has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from google.protobuf import json_format
from xds.type.v3.typed_struct_pb2 import TypedStruct

from culvert.compile.packing import TYPE_URL_PREFIX, pack


def typed_extension(name: str, message: str, fields: Mapping[str, Any]) -> TypedExtensionConfig:
    """An extension by the full name of its message; ``fields`` in protobuf's JSON form."""
    struct = TypedStruct(type_url=TYPE_URL_PREFIX + message)
    json_format.ParseDict(dict(fields), struct.value)
    return TypedExtensionConfig(name=name, typed_config=pack(struct))


def as_json(extension: TypedExtensionConfig) -> dict[str, Any]:
    """An extension as a field of another ``TypedStruct``."""
    struct = TypedStruct.FromString(extension.typed_config.value)
    return {
        "name": extension.name,
        "typed_config": {
            "@type": TYPE_URL_PREFIX + TypedStruct.DESCRIPTOR.full_name,
            "type_url": struct.type_url,
            "value": json_format.MessageToDict(struct.value),
        },
    }
