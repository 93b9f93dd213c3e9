"""The answer of the compiler: everything one node should hold, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from culvert.model.finding import Finding
from culvert.model.outcome import ObjectOutcome
from culvert.model.policy import AssignedPolicy
from culvert.model.redirect import RedirectTable
from culvert.model.settings import Settings


@dataclass(frozen=True, slots=True)
class Resource:
    """One xDS resource, serialised once.

    ``body`` is the deterministic protobuf encoding of the message named by ``type_url``;
    ``version`` is a digest of it, so equal bytes always carry equal versions, on every agent and
    after every restart.
    """

    type_url: str
    name: str
    version: str
    body: bytes

    @classmethod
    def of(cls, type_url: str, name: str, body: bytes) -> Resource:
        """Build a resource whose version is derived from its bytes."""
        return cls(type_url, name, sha256(body).hexdigest()[:16], body)

    @classmethod
    def held_back(cls, type_url: str, name: str) -> Resource:
        """One that is about to come: whoever asks for it is not told that there is none."""
        return cls(type_url, name, "", b"")


Snapshot = Mapping[str, Mapping[str, Resource]]
"""type URL -> resource name -> resource."""


@dataclass(frozen=True, slots=True)
class Desired:
    """What one node should hold: Envoy resources, redirect maps, and what was wrong on the way.

    ``settings`` are those in force on the node, with the MeshConfig in them; ``outcomes`` say what
    became of every object of ``culvert.dev``, in order of kind, namespace and name. ``policies``
    are the AuthorizationPolicies of this node's pods by address.
    """

    resources: Snapshot
    redirect: RedirectTable
    findings: tuple[Finding, ...]
    settings: Settings = field(default_factory=Settings)
    outcomes: tuple[ObjectOutcome, ...] = ()
    policies: Mapping[str, Sequence[AssignedPolicy]] = field(default_factory=dict)
