"""How the API wraps objects: metadata, pages of a list, events of a watch."""

from __future__ import annotations

from sys import intern

import msgspec

from culvert.model.key import ObjectKey


class Metadata(msgspec.Struct, rename="camel"):
    """The part of ``metadata`` that identifies an object and its version."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None

    @property
    def key(self) -> ObjectKey:
        """Namespace (empty for cluster-scoped objects) and name."""
        return ObjectKey(intern(self.namespace), self.name)


class ListMetadata(msgspec.Struct, rename="camel"):
    """``metadata`` of a list; ``next_page`` is the token to ask for more, empty at the end."""

    resource_version: str = ""
    next_page: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct):
    """A list, or one page of it."""

    metadata: ListMetadata
    items: list[msgspec.Raw] | None = None


class Event(msgspec.Struct):
    """One event of a watch; ``object`` is a Status where ``type`` is ``ERROR``."""

    type: str
    object: msgspec.Raw


class _Object(msgspec.Struct):
    metadata: Metadata


_PAGE = msgspec.json.Decoder(Page)
_EVENT = msgspec.json.Decoder(Event)
_OBJECT = msgspec.json.Decoder(_Object)


def page_of(body: bytes) -> Page:
    """Read a list's frame. Raises ``msgspec.MsgspecError``."""
    return _PAGE.decode(body)


def event_of(line: bytes) -> Event:
    """Read a watch event's frame. Raises ``msgspec.MsgspecError``."""
    return _EVENT.decode(line)


def metadata_of(raw: msgspec.Raw) -> Metadata:
    """Read what identifies an object. Raises ``msgspec.MsgspecError``."""
    return _OBJECT.decode(raw).metadata
