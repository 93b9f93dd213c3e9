"""One kind of object as the mesh watches it: where it is, how it is read, what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from culvert.kube.collection import Undecodable
from culvert.kube.envelope import metadata_of
from culvert.model.codes import UNREADABLE_OBJECT
from culvert.model.finding import Finding
from culvert.model.key import ObjectKey
from culvert.sources.decode.error import DecodeError
from culvert.sources.decode.rejection import rejection

Wire = TypeVar("Wire")

Items = Mapping[ObjectKey, Any]


def as_they_are(items: Items) -> object:
    """Objects by namespace and name."""
    return items


def by_name(items: Items) -> object:
    """Cluster-scoped objects by name alone."""
    return {key.name: value for key, value in items.items()}


def the_only_one(items: Items) -> object:
    """The object of a kind that has one; None where it is not there."""
    return next(iter(items.values()), None)


@dataclass(frozen=True, slots=True)
class Kind:
    """What is watched, and which field of the World it fills.

    ``name`` is for people and unique. ``decode`` gives the model's value, None for an object that
    the node has no use for, and raises ``Undecodable``. Kinds with the same ``field`` are put
    together, later ones over earlier ones; ``arrange`` makes the field's value of the objects. An
    ``optional`` kind may be unknown to the server.
    """

    name: str
    path: str
    decode: Callable[[msgspec.Raw], Any]
    field: str
    arrange: Callable[[Items], object] = as_they_are
    field_selector: str = ""
    label_selector: str = ""
    optional: bool = False


def decoder(
    kind: str, shape: type[Wire], build: Callable[[Wire], object]
) -> Callable[[msgspec.Raw], Any]:
    """Read JSON into a wire shape, then build the model's value of it.

    ``build`` may return None for an object that is of no use, and raise ``DecodeError``.
    """
    wire = msgspec.json.Decoder(shape)

    def decode(raw: msgspec.Raw) -> Any:
        try:
            try:
                return build(wire.decode(raw))
            except msgspec.ValidationError as error:
                raise rejection(error) from error
        except DecodeError as error:
            key = metadata_of(raw).key
            subject = f"{kind} {key if key.namespace else key.name}"
            raise Undecodable(
                Finding(UNREADABLE_OBJECT.id, subject, error.field, error.message, error.remedy)
            ) from error

    return decode
