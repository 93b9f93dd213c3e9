"""Kubernetes objects, as plain mappings, decoded into the model. Pure."""

from culvert.sources.decode.document import (
    IGNORED_KINDS,
    Decoded,
    Identity,
    decode_document,
    identity_of,
)
from culvert.sources.decode.error import DecodeError

__all__ = [
    "IGNORED_KINDS",
    "DecodeError",
    "Decoded",
    "Identity",
    "decode_document",
    "identity_of",
]
