"""The delta ADS session: a pure state machine over plain values.

One session serves one stream. Requests and snapshots go in, the responses to write come out, in
the order in which they must be written. There is no clock and no I/O, so every interleaving can be
driven from a test.

Rules, with their source:

- Nothing is answered before the first snapshot: a restarted agent that does not know the cluster
  yet must not make a proxy drop what it has.
- One response per type is under way; newer snapshots coalesce meanwhile.
- A listener or route is sent only when the clusters it names were accepted, and a resource is
  removed only when nothing the proxy may still hold names it (xDS protocol, "Eventual consistency
  considerations").
- Endpoints are sent again after their cluster is sent: Envoy builds a changed cluster anew and
  keeps it warming until a load assignment arrives, even an unchanged one (istio#28402).
- A rejected batch is taken apart until the bad resource stands alone; that one is not sent again
  until its version changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from culvert.model.desired import Resource, Snapshot
from culvert.model.finding import Finding
from culvert.xds import findings
from culvert.xds.exchange import DeltaRequest, DeltaResponse
from culvert.xds.resource_types import (
    CLUSTER,
    ENDPOINTS,
    GATED_ON_CLUSTERS,
    IMPLICIT_WILDCARD,
    KNOWN,
    REFERRERS,
    in_send_order,
)
from culvert.xds.subscription import ABSENT, InFlight, Subscription

Reference = tuple[str, str]
"""(type URL, resource name)."""

References = Callable[[Resource], frozenset[Reference]]
"""Which other resources a resource names."""

MAX_RESPONSE_BYTES = 4 << 20
"""Resource bytes after which a response is closed; the rest follows when it was accepted."""

_NO_REFERENCES: frozenset[Reference] = frozenset()
_REFERRING = frozenset().union(*REFERRERS.values())


def no_references(_resource: Resource) -> frozenset[Reference]:
    """Treat all resources as independent."""
    return _NO_REFERENCES


@dataclass(frozen=True, slots=True)
class TypeStatistics:
    """One type of one session. Counts are of resources unless named otherwise.

    ``accepted`` maps name -> version the proxy has; ``doubtful`` are names that were part of a
    rejected batch and not accepted since, so that the proxy may have another version. ``sent`` and
    ``removed`` are totals since the stream began; ``pending`` are those that wait to be sent;
    ``in_flight`` those sent and not answered. ``acks``, ``nacks`` and ``stale_nonces`` count
    requests.
    """

    type_url: str
    wildcard: bool
    names: int
    accepted: Mapping[str, str]
    doubtful: frozenset[str]
    pending: int
    in_flight: int
    rejected: Mapping[str, str]
    responses: int
    sent: int
    removed: int
    acks: int
    nacks: int
    stale_nonces: int
    last_error: str


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """A frozen picture of one session.

    ``settled``: nothing is left to do until the snapshot or the proxy changes its mind.
    ``synced``: settled, and the proxy accepted all of it. ``settled_generation`` is the newest
    generation that was ever settled, ``None`` before the first.
    """

    generation: int | None
    settled_generation: int | None
    settled: bool
    synced: bool
    types: Mapping[str, TypeStatistics]


class Session:
    """The state of one delta ADS stream.

    A snapshot that has clusters, listeners or scoped routes as a key, even with nothing in it, says
    that the proxy subscribes to that type: until it has, the session does not know what the proxy
    still holds of it, takes away nothing that it may name, and does not count as settled.
    """

    def __init__(
        self,
        references: References = no_references,
        *,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        self._references = references
        self._max_response_bytes = max_response_bytes
        self._subscriptions: dict[str, Subscription] = {}
        self._snapshot: Snapshot | None = None
        self._generation: int | None = None
        self._settled_generation: int | None = None
        self._nonces = 0
        # type URL -> name -> version -> what that version names
        self._known_references: dict[str, dict[str, dict[str, frozenset[Reference]]]] = {}
        self._owed_endpoints: set[str] = set()

    @property
    def generation(self) -> int | None:
        """The generation of the snapshot in use, ``None`` before the first."""
        return self._generation

    @property
    def settled_generation(self) -> int | None:
        """The newest generation that was ever settled, ``None`` before the first."""
        return self._settled_generation

    def awaits(self, type_url: str, nonce: str) -> bool:
        """Whether ``nonce`` is the one that an answer for this type must carry."""
        subscription = self._subscriptions.get(type_url)
        in_flight = subscription.in_flight if subscription else None
        return in_flight is not None and in_flight.nonce == nonce

    def on_request(self, request: DeltaRequest) -> list[DeltaResponse]:
        """Take one request of the proxy; return what to write now."""
        subscription = self._subscriptions.get(request.type_url)
        if subscription is None:
            self._open(request)
        else:
            if request.response_nonce:
                in_flight = subscription.in_flight
                subscription.answered(request.response_nonce, request.error)
                self._forget_references(subscription, in_flight.names if in_flight else ())
            if request.subscribe or request.unsubscribe:
                subscription.change_interest(request.subscribe, request.unsubscribe)
        return self._advance()

    def on_snapshot(self, snapshot: Snapshot, generation: int = 0) -> list[DeltaResponse]:
        """Take a newer snapshot; return what to write now."""
        self._snapshot = snapshot
        self._generation = generation
        for type_url, subscription in self._subscriptions.items():
            want = snapshot.get(type_url, {})
            self._remember_references(subscription, want)
            subscription.take_want(want)
        return self._advance()

    def findings(self) -> tuple[Finding, ...]:
        """Return what is wrong at this moment: rejected versions in force, unknown types."""
        found = []
        for type_url in in_send_order(self._subscriptions):
            subscription = self._subscriptions[type_url]
            if type_url not in KNOWN:
                found.append(findings.unknown_type(type_url))
            for name, rejection in sorted(subscription.rejected.items()):
                have = subscription.have.get(name, "")
                if rejection.version == ABSENT:
                    found.append(findings.removal_rejected(type_url, name, have, rejection.error))
                else:
                    found.append(
                        findings.resource_rejected(
                            type_url, name, rejection.version, have, rejection.error
                        )
                    )
        return tuple(found)

    def statistics(self) -> SessionStatistics:
        """Return a frozen picture of the session."""
        settled = self._is_settled()
        types = {}
        for type_url in in_send_order(self._subscriptions):
            one = self._subscriptions[type_url]
            in_flight = one.in_flight
            under_way = in_flight.names if in_flight else frozenset()
            types[type_url] = TypeStatistics(
                type_url=type_url,
                wildcard=one.wildcard,
                names=len(one.names),
                accepted=dict(one.have),
                doubtful=frozenset(one.doubtful),
                pending=sum(
                    1
                    for name in one.due
                    if name not in under_way
                    or (in_flight and in_flight.version_of(name) != one.want_version(name))
                ),
                in_flight=len(under_way),
                rejected={name: rejection.version for name, rejection in one.rejected.items()},
                responses=one.counters.responses,
                sent=one.counters.resources_sent,
                removed=one.counters.removals_sent,
                acks=one.counters.acks,
                nacks=one.counters.nacks,
                stale_nonces=one.counters.stale,
                last_error=one.last_error,
            )
        clean = not any(one.rejected or one.due for one in self._subscriptions.values())
        return SessionStatistics(
            generation=self._generation,
            settled_generation=self._settled_generation,
            settled=settled,
            synced=settled and clean,
            types=types,
        )

    def _open(self, request: DeltaRequest) -> None:
        type_url = request.type_url
        subscription = Subscription(type_url)
        if self._snapshot is not None:
            subscription.take_want(self._snapshot.get(type_url, {}))
        # Envoy asks in a fixed order, clusters first, but withholds the request for clusters
        # while one of them is warming. Endpoints asked for before clusters therefore mean that a
        # cluster waits for them, whatever versions the proxy claims (envoy#36951).
        distrust = type_url == ENDPOINTS and CLUSTER not in self._subscriptions
        self._subscriptions[type_url] = subscription
        if type_url == ENDPOINTS:
            subscription.owed.update(self._owed_endpoints)
            self._owed_endpoints.clear()
        subscription.open(
            request,
            implicit_wildcard=type_url in IMPLICIT_WILDCARD or type_url not in KNOWN,
            distrust=distrust,
        )

    def _advance(self) -> list[DeltaResponse]:
        if self._snapshot is None:
            return []
        responses = []
        for type_url in in_send_order(self._subscriptions):
            subscription = self._subscriptions[type_url]
            if subscription.in_flight is not None:
                continue
            if not subscription.due and not subscription.must_answer:
                subscription.suspects.clear()
                continue
            response = self._next_response(subscription)
            if response is not None:
                responses.append(response)
        if self._is_settled():
            self._settled_generation = self._generation
        return responses

    def _next_response(self, subscription: Subscription) -> DeltaResponse | None:
        want = subscription.want or {}
        additions, waiting = self._sendable(subscription)
        removals = set() if waiting else self._removable(subscription)
        group = self._next_suspects(subscription, additions | removals)
        if group is not None:
            additions &= group
            removals &= group
        resources: list[Resource] = []
        size_bytes = 0
        for name in sorted(additions):
            if resources and size_bytes + len(want[name].body) > self._max_response_bytes:
                # A replacement goes with what it replaces, in the last part.
                removals = set()
                break
            resources.append(want[name])
            size_bytes += len(want[name].body)
        if not resources and not removals and (waiting or not subscription.must_answer):
            return None
        self._nonces += 1
        nonce = str(self._nonces)
        subscription.sent(
            InFlight(
                nonce,
                {resource.name: resource for resource in resources},
                frozenset(removals),
                alone=len(resources) + len(removals) == 1,
            )
        )
        if subscription.type_url == CLUSTER:
            self._owe_endpoints(resources)
        return DeltaResponse(
            subscription.type_url,
            nonce,
            tuple(resources),
            tuple(sorted(removals)),
            str(self._generation),
        )

    @staticmethod
    def _next_suspects(subscription: Subscription, ready: set[str]) -> frozenset[str] | None:
        """Choose the part of a rejected batch to send now; ``None`` when no part is left."""
        kept = [group & subscription.due for group in subscription.suspects]
        subscription.suspects = [group for group in kept if group]
        return next((group for group in subscription.suspects if group & ready), None)

    def _sendable(self, subscription: Subscription) -> tuple[set[str], bool]:
        """Return the due resources that may be sent, and whether others still wait for clusters.

        A resource whose cluster was rejected is held back too, so that the proxy keeps the last
        good one, but nothing waits for it.
        """
        want = subscription.want or {}
        due = {name for name in subscription.due if name in want}
        if subscription.type_url not in GATED_ON_CLUSTERS:
            return due, False
        clusters = self._subscriptions.get(CLUSTER)
        present = self._present_clusters()
        wanted_clusters = (self._snapshot or {}).get(CLUSTER, {})
        ready = set()
        waiting = False
        for name in due:
            missing = [
                cluster
                for type_url, cluster in self._references_of(want[name])
                if type_url == CLUSTER and cluster in wanted_clusters and cluster not in present
            ]
            if not missing:
                ready.add(name)
            elif clusters is None or any(one not in clusters.rejected for one in missing):
                waiting = True
        return ready, waiting

    def _present_clusters(self) -> Collection[str]:
        """Return the clusters the proxy accepted and was not told to remove since."""
        clusters = self._subscriptions.get(CLUSTER)
        if clusters is None:
            return ()
        leaving = {name for name, versions in clusters.doubtful.items() if ABSENT in versions}
        if clusters.in_flight is not None:
            leaving |= clusters.in_flight.removed
        return clusters.have.keys() - leaving if leaving else clusters.have.keys()

    def _removable(self, subscription: Subscription) -> set[str]:
        """Return the due removals that nothing the proxy may hold in passing refers to."""
        want = subscription.want or {}
        gone = {name for name in subscription.due if name not in want}
        # A name the proxy never had is only answered, never taken away.
        answers = {
            name
            for name in gone
            if name not in subscription.have and name not in subscription.doubtful
        }
        taken = gone - answers
        if not taken:
            return answers
        for type_url in REFERRERS.get(subscription.type_url, ()):
            referrers = self._subscriptions.get(type_url)
            if referrers is None:
                if self._expects(type_url):
                    # The proxy may hold resources of a type it has not asked for yet.
                    return answers
                continue
            held = self._held_in_passing(referrers)
            if held is None:
                return answers
            taken -= {name for kind, name in held if kind == subscription.type_url}
        return answers | taken

    def _held_in_passing(self, referrers: Subscription) -> frozenset[Reference] | None:
        """Return what is named by resources the proxy may hold but should not hold for long.

        ``None`` when the proxy holds a version that this session has never seen. A reference from
        a resource that is as wanted does not count: the snapshot itself dangles, and waiting would
        not end.
        """
        found: set[Reference] = set()
        in_flight = referrers.in_flight
        under_way = in_flight.names if in_flight else frozenset()
        for name in {*referrers.due, *referrers.rejected, *referrers.doubtful, *under_way}:
            if referrers.settled(name) and name not in under_way:
                continue
            versions = set(referrers.doubtful.get(name, ()))
            versions.add(referrers.have.get(name, ABSENT))
            if in_flight and name in under_way:
                versions.add(in_flight.version_of(name))
            known = self._known_references.get(referrers.type_url, {}).get(name, {})
            for version in versions - {ABSENT}:
                if version not in known:
                    return None
                found |= known[version]
        return frozenset(found)

    def _references_of(self, resource: Resource) -> frozenset[Reference]:
        known = self._known_references.setdefault(resource.type_url, {})
        versions = known.setdefault(resource.name, {})
        if resource.version not in versions:
            versions[resource.version] = self._references(resource)
        return versions[resource.version]

    def _remember_references(
        self, subscription: Subscription, want: Mapping[str, Resource]
    ) -> None:
        """Note what the proxy's versions name before the snapshot that still has them is gone."""
        before = subscription.want
        if subscription.type_url not in _REFERRING or before is None or before is want:
            return
        for name in subscription.changed_by(want):
            resource = before.get(name)
            if resource is not None and resource.version == subscription.have.get(name):
                self._references_of(resource)

    def _forget_references(self, subscription: Subscription, names: Iterable[str]) -> None:
        """Drop the references of versions of these names that are not held nor wanted any more."""
        known = self._known_references.get(subscription.type_url, {})
        for name in known.keys() & names:
            live = {subscription.have.get(name, ABSENT), subscription.want_version(name)}
            live.update(subscription.doubtful.get(name, ()))
            for version in known[name].keys() - live:
                del known[name][version]
            if not known[name]:
                del known[name]

    def _owe_endpoints(self, clusters: Iterable[Resource]) -> None:
        subscription = self._subscriptions.get(ENDPOINTS)
        for cluster in clusters:
            for type_url, name in self._references_of(cluster):
                if type_url != ENDPOINTS:
                    continue
                if subscription is None:
                    self._owed_endpoints.add(name)
                elif subscription.covers(name):
                    subscription.owe(name)

    def _is_settled(self) -> bool:
        if self._snapshot is None:
            return False
        for subscription in self._subscriptions.values():
            if subscription.in_flight is not None or subscription.must_answer:
                return False
            if subscription.due and self._sendable(subscription)[1]:
                return False
        return self._asked_for_all()

    def _expects(self, type_url: str) -> bool:
        """Whether a proxy with this snapshot subscribes to the type sooner or later."""
        snapshot = self._snapshot or {}
        if type_url in IMPLICIT_WILDCARD:
            return type_url in snapshot
        return bool(snapshot.get(type_url))

    def _asked_for_all(self) -> bool:
        """Whether the proxy has subscribed to all that the snapshot has for it.

        Between two types of a starting proxy everything it asked for is accepted, and yet it has
        hardly begun.
        """
        snapshot = self._snapshot or {}
        if any(self._expects(one) and one not in self._subscriptions for one in IMPLICIT_WILDCARD):
            return False
        clusters = self._subscriptions.get(CLUSTER)
        wanted_endpoints = snapshot.get(ENDPOINTS)
        if clusters is None or not wanted_endpoints:
            return True
        endpoints = self._subscriptions.get(ENDPOINTS)
        if endpoints is not None and wanted_endpoints.keys() <= endpoints.names:
            return True
        for name, cluster in (clusters.want or {}).items():
            if not clusters.settled(name):
                continue
            for type_url, reference in self._references_of(cluster):
                if (
                    type_url == ENDPOINTS
                    and reference in wanted_endpoints
                    and (endpoints is None or not endpoints.covers(reference))
                ):
                    return False
        return True
