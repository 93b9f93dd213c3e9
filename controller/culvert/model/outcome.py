"""What became of one object of ``culvert.dev`` on one node, as far as deciding goes.

Whether the proxy and the maps hold it is for those to say who talk to them: an outcome names what
they have to hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from culvert.model.key import ObjectKey
from culvert.model.redirect import DestinationKey


class Reason(StrEnum):
    """Reasons of conditions. Programs rely on them: they do not change."""

    ACCEPTED = "Accepted"
    CONFLICTED = "Conflicted"
    """All targets belong to older policies."""
    INVALID = "Invalid"
    """The object cannot be read; what it was before may still be in force."""
    UNSUPPORTED_TARGET = "UnsupportedTarget"
    """No target is one that the policy could do anything for."""
    RESOLVED_REFS = "ResolvedRefs"
    TARGET_NOT_FOUND = "TargetNotFound"
    PROGRAMMED = "Programmed"
    PENDING = "Pending"
    """Not on all nodes yet."""
    REJECTED = "Rejected"
    """The proxy of some node refused it."""
    NOT_ACCEPTED = "NotAccepted"
    """It is not accepted, so there is nothing to program."""
    NO_TARGET = "NoTarget"
    """It has no target that exists, so there is nothing to program."""
    NOT_IMPLEMENTED = "NotImplemented"
    """The object is valid, and this version of the mesh does nothing with it."""


@dataclass(frozen=True, slots=True, order=True)
class ObjectOutcome:
    """The verdict on one object.

    ``accepted``, ``reason`` and ``message`` are the condition Accepted; ``resolved_refs`` and those
    with its prefix the condition ResolvedRefs, which an object without references has as well.

    ``programmed_by_design`` is false for a kind whose effect does not exist yet.

    ``resource_names`` are the xDS resources, as (type URL, name), and ``destinations`` the map
    entries that carry the object on this node: it is in effect when the proxy has acknowledged
    their present versions, and when the maps hold these. ``carried_by_everything`` stands for all
    resources and entries of the node. Where ``needed`` is false there is none of the three: this
    node has nothing to do for the object.

    ``generation`` is 0 where it is not known: for an object of a folder of manifests, and one that
    could not be read (``INVALID``).
    """

    kind: str
    key: ObjectKey
    uid: str = ""
    generation: int = 0
    accepted: bool = True
    reason: str = Reason.ACCEPTED
    message: str = ""
    resolved_refs: bool = True
    resolved_refs_reason: str = Reason.RESOLVED_REFS
    resolved_refs_message: str = ""
    programmed_by_design: bool = True
    resource_names: tuple[tuple[str, str], ...] = ()
    destinations: tuple[DestinationKey, ...] = ()
    carried_by_everything: bool = False

    @property
    def needed(self) -> bool:
        """Whether this node has anything to hold for it."""
        return bool(self.resource_names or self.destinations or self.carried_by_everything)
