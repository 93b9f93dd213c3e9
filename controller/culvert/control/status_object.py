"""The objects of ``culvert.dev`` as the status writer sees them: what their status says now."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from culvert.model.key import ObjectKey
from culvert.model.report import ObjectId


class SeenCondition(msgspec.Struct, frozen=True, rename="camel"):
    """One condition as it is in the object."""

    type: str
    status: str = ""
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str = ""


@dataclass(frozen=True, slots=True)
class StatusObject:
    """One object: which one, in which version of its content, and its conditions."""

    kind: str
    key: ObjectKey
    uid: str
    generation: int
    conditions: tuple[SeenCondition, ...]

    @property
    def id(self) -> ObjectId:
        """By which agents report it."""
        return ObjectId(self.kind, self.key.namespace, self.key.name, self.uid)

    def condition(self, type_: str) -> SeenCondition | None:
        """The condition of a type, if it is there."""
        return next((one for one in self.conditions if one.type == type_), None)


class _Metadata(msgspec.Struct, frozen=True):
    name: str
    uid: str
    namespace: str = ""
    generation: int = 0


class _Status(msgspec.Struct, frozen=True):
    conditions: tuple[SeenCondition, ...] = ()


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata
    status: _Status = _Status()


_OBJECT = msgspec.json.Decoder(_Object)


def read_status_object(kind: str, raw: msgspec.Raw) -> StatusObject:
    """Read one object.

    Raises:
        msgspec.MsgspecError: the server sent what its schema does not allow.
    """
    seen = _OBJECT.decode(raw)
    metadata = seen.metadata
    return StatusObject(
        kind=kind,
        key=ObjectKey(metadata.namespace, metadata.name),
        uid=metadata.uid,
        generation=metadata.generation,
        conditions=seen.status.conditions,
    )
