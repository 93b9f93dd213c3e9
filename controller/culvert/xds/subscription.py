"""One type within one delta stream: what the proxy asked for, what it has, what it is owed.

Knows nothing of other types; the order between types is the session's business.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from culvert.model.desired import Resource
from culvert.xds.exchange import WILDCARD, DeltaRequest
from culvert.xds.resource_types import is_on_demand

ABSENT = ""
"""The version of a resource that is not there; digests are never empty."""

MAX_SINGLES = 8
"""Up to so many names of a rejected batch are sent one by one when the error names them all."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A response that was neither accepted nor rejected yet. ``removed`` versions are ``ABSENT``.

    ``alone``: it was sent with one name in it, so a NACK can mean only that one.
    """

    nonce: str
    resources: Mapping[str, Resource]
    removed: frozenset[str]
    alone: bool

    @property
    def names(self) -> frozenset[str]:
        """Every resource the response speaks of."""
        return self.removed.union(self.resources)

    def version_of(self, name: str) -> str:
        """Return the version the response carries for ``name``."""
        resource = self.resources.get(name)
        return resource.version if resource else ABSENT


@dataclass(frozen=True, slots=True)
class Rejection:
    """A version the proxy refused, sent alone so that there is no doubt which one it was."""

    version: str
    error: str


@dataclass(slots=True)
class Counters:
    """Totals since the stream began."""

    responses: int = 0
    resources_sent: int = 0
    removals_sent: int = 0
    acks: int = 0
    nacks: int = 0
    stale: int = 0


@dataclass(slots=True)
class Subscription:
    """The state of one type. ``due`` is derived; every mutation ends in ``refresh`` of its names.

    - ``have``: name -> version the proxy accepted, or said it had when the stream began.
    - ``doubtful``: name -> versions that were in a rejected batch. Envoy may have applied some of
      a batch that it rejects as a whole, so such a name is sent until it is accepted alone.
    - ``owed``: names to be sent even though the proxy has that version (it asked again, or its
      cluster warms anew).
    - Held-back resources are never due; whoever asked for one is answered when it comes.
    - ``suspects``: parts of a rejected batch, each to be sent in a response of its own.
    """

    type_url: str
    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    want: Mapping[str, Resource] | None = None
    have: dict[str, str] = field(default_factory=dict)
    doubtful: dict[str, set[str]] = field(default_factory=dict)
    owed: set[str] = field(default_factory=set)
    rejected: dict[str, Rejection] = field(default_factory=dict)
    suspects: list[frozenset[str]] = field(default_factory=list)
    due: set[str] = field(default_factory=set)
    in_flight: InFlight | None = None
    must_answer: bool = False
    last_error: str = ""
    counters: Counters = field(default_factory=Counters)

    def covers(self, name: str) -> bool:
        """Whether the proxy is interested in ``name``."""
        return name in self.names or (self.wildcard and not is_on_demand(self.type_url, name))

    def open(self, request: DeltaRequest, *, implicit_wildcard: bool, distrust: bool) -> None:
        """Take the first request of the stream for this type.

        ``distrust`` sends everything again whatever versions the proxy claims.
        """
        self.wildcard = WILDCARD in request.subscribe or (
            implicit_wildcard and not request.subscribe
        )
        self.names = set(request.subscribe) - {WILDCARD}
        self.must_answer = self.wildcard
        self.have = {
            name: version
            for name, version in request.initial_versions.items()
            if version and self.covers(name)
        }
        if distrust:
            self.owed.update(self.have)
        self._answer_absent(self.names)
        self.refresh({*self.names, *self.have, *(self.want or ())})

    def change_interest(self, subscribe: Iterable[str], unsubscribe: Iterable[str]) -> None:
        """Apply a later request's subscriptions.

        A name subscribed again is sent again even at the same version: the proxy may have
        forgotten it (Envoy's xDS protocol, "Subscribing to Resources").
        """
        left = set(unsubscribe)
        if WILDCARD in left:
            self.wildcard = False
            self.must_answer = False
        self.names -= left
        # With a wildcard the proxy cannot know whether a name it unsubscribed is still part of
        # it, and waits to be told ("Unsubscribing From Resources").
        confirm = (left - {WILDCARD}) if self.wildcard else set()
        asked = set(subscribe)
        if WILDCARD in asked and not self.wildcard:
            self.wildcard = True
            self.must_answer = True
        asked.discard(WILDCARD)
        self.names |= asked
        for name in asked | confirm:
            self.rejected.pop(name, None)
        self.owed |= asked | confirm
        if left:
            self._drop_uncovered()
        self.refresh({*asked, *confirm, *(self.want or () if self.wildcard else ())})

    def take_want(self, want: Mapping[str, Resource]) -> None:
        """Replace the wanted resources; cheap when little or nothing changed."""
        if self.want is None:
            self.want = want
            self._answer_absent(self.names)
            self.refresh({*self.names, *self.have, *want})
            return
        changed = self.changed_by(want)
        self.want = want
        for name in changed:
            rejection = self.rejected.get(name)
            if rejection is not None and rejection.version != self.want_version(name):
                del self.rejected[name]
        self.refresh(changed)

    def changed_by(self, want: Mapping[str, Resource]) -> Collection[str]:
        """Names that other resources would be wanted for, and those wanted no more."""
        before = self.want or {}
        if before is want:
            return ()
        changed = {name for name, resource in want.items() if before.get(name) is not resource}
        changed.update(name for name in before if name not in want)
        return changed

    def want_version(self, name: str) -> str:
        """Return the version the proxy should have, ``ABSENT`` when it should not have any."""
        resource = (self.want or {}).get(name)
        return resource.version if resource else ABSENT

    def is_held_back(self, name: str) -> bool:
        """Whether ``name`` is about to come (``Resource.held_back``): what the proxy has, stays."""
        resource = (self.want or {}).get(name)
        return resource is not None and resource.version == ABSENT

    def settled(self, name: str) -> bool:
        """Whether the proxy has exactly the wanted version, beyond doubt."""
        return self.have.get(name, ABSENT) == self.want_version(name) and name not in self.doubtful

    def refresh(self, names: Iterable[str]) -> None:
        """Bring ``due`` up to date for ``names``."""
        if self.want is None:
            return
        for name in names:
            rejection = self.rejected.get(name)
            refused = rejection is not None and rejection.version == self.want_version(name)
            needed = name in self.owed or not self.settled(name)
            if self.covers(name) and needed and not refused and not self.is_held_back(name):
                self.due.add(name)
            else:
                self.due.discard(name)

    def owe(self, name: str) -> None:
        """Send ``name`` once more whatever the proxy has."""
        self.owed.add(name)
        self.refresh((name,))

    def sent(self, response: InFlight) -> None:
        """Record a response as on its way."""
        self.in_flight = response
        self.must_answer = False
        self.due -= response.names
        self.owed -= response.names
        self.counters.responses += 1
        self.counters.resources_sent += len(response.resources)
        self.counters.removals_sent += len(response.removed)

    def answered(self, nonce: str, error: str | None) -> None:
        """Take an ACK (``error`` is ``None``) or a NACK; a stale nonce changes nothing."""
        response = self.in_flight
        if response is None or response.nonce != nonce:
            self.counters.stale += 1
            return
        self.in_flight = None
        if error is None:
            self.counters.acks += 1
            self._accept(response)
        else:
            self.counters.nacks += 1
            self.last_error = error
            self._reject(response, error)
        self.refresh(response.names)

    def _accept(self, response: InFlight) -> None:
        for name in response.names:
            self.doubtful.pop(name, None)
            self.rejected.pop(name, None)
            version = response.version_of(name)
            if version == ABSENT or not self.covers(name):
                self.have.pop(name, None)
            else:
                self.have[name] = version

    def _reject(self, response: InFlight, error: str) -> None:
        names = sorted(name for name in response.names if self.covers(name))
        if response.alone:
            for name in names:
                version = response.version_of(name)
                if version == self.want_version(name):
                    self.rejected[name] = Rejection(version, error)
                # Alone and refused: this version is not what the proxy runs.
                remaining = self.doubtful.get(name, set()) - {version}
                if remaining:
                    self.doubtful[name] = remaining
                else:
                    self.doubtful.pop(name, None)
            return
        for name in names:
            self.doubtful.setdefault(name, set()).add(response.version_of(name))
        self.suspects = _split(names, error) + self.suspects

    def _answer_absent(self, names: Collection[str]) -> None:
        """Owe an answer for names that do not exist, so that the proxy need not wait for them."""
        if self.want is not None:
            self.owed.update(
                name for name in names if name not in self.want and name not in self.have
            )

    def _drop_uncovered(self) -> None:
        for held in (self.have, self.doubtful, self.rejected):
            for name in [name for name in held if not self.covers(name)]:
                del held[name]
        self.owed = {name for name in self.owed if self.covers(name)}
        self.due = {name for name in self.due if self.covers(name)}
        if self.in_flight is not None:
            # What the proxy dropped while it was under way must not count as held if it asks
            # for it again before it answers.
            response = self.in_flight
            self.in_flight = InFlight(
                response.nonce,
                {n: r for n, r in response.resources.items() if self.covers(n)},
                frozenset(n for n in response.removed if self.covers(n)),
                response.alone,
            )


def _split(names: list[str], error: str) -> list[frozenset[str]]:
    """Divide a rejected batch: the names the error speaks of apart, otherwise halves.

    Envoy's errors usually quote the resource, which finds it at once; halving finds one bad
    resource among n in about log2(n) further rejections when they do not.
    """
    named = [name for name in names if name in error]
    if len(names) <= 2:
        return [frozenset({name}) for name in names]
    rest = [name for name in names if name not in error]
    if named and rest:
        return [frozenset(rest), *(frozenset({name}) for name in named)]
    if named and len(named) <= MAX_SINGLES:
        return [frozenset({name}) for name in named]
    middle = len(names) // 2
    return [frozenset(names[:middle]), frozenset(names[middle:])]
