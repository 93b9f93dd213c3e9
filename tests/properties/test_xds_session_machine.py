"""The session against a model of Envoy, with delays, rejections, stale nonces and reconnects.

The model keeps what a proxy keeps and checks on every delivery what must never happen; whenever
the traffic is drained it must hold what the snapshot says.
"""

from __future__ import annotations

from collections import Counter, deque

from culvert.model.desired import Resource
from culvert.xds.exchange import DeltaRequest, DeltaResponse
from culvert.xds.resource_types import CLUSTER, ENDPOINTS, SCOPED_ROUTE
from culvert.xds.session import Reference, Session
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

NAMES = ("a", "b", "c", "d")
TYPES = (CLUSTER, ENDPOINTS, SCOPED_ROUTE)


def make(type_url: str, name: str, revision: int, good: bool, *refs: Reference) -> Resource:
    lines = [f"{kind} {target}" for kind, target in refs]
    lines += [f"revision {revision}", "good" if good else "bad"]
    return Resource.of(type_url, name, "\n".join(lines).encode())


def references_of(resource: Resource) -> frozenset[Reference]:
    pairs = (line.partition(" ") for line in resource.body.decode().splitlines())
    return frozenset((kind, name) for kind, _, name in pairs if kind in TYPES)


def is_good(resource: Resource) -> bool:
    return resource.body.endswith(b"good")


@st.composite
def snapshots(draw: st.DrawFn) -> dict[str, dict[str, Resource]]:
    """Consistent snapshots: every reference exists. Some resources are such as Envoy refuses."""
    revisions = st.integers(0, 2)
    goodness = st.sampled_from((True, True, True, True, False))
    clusters = {}
    endpoints = {}
    for name in draw(st.sets(st.sampled_from(NAMES))):
        service = draw(st.sampled_from((name, "shared")))
        clusters[name] = make(CLUSTER, name, draw(revisions), draw(goodness), (ENDPOINTS, service))
        endpoints[service] = make(ENDPOINTS, service, draw(revisions), draw(goodness))
    scopes = {}
    if clusters:
        targets = st.sets(st.sampled_from(sorted(clusters)), min_size=1, max_size=2)
        for name in draw(st.sets(st.sampled_from(NAMES))):
            refs = [(CLUSTER, target) for target in sorted(draw(targets))]
            scopes[name] = make(SCOPED_ROUTE, name, draw(revisions), draw(goodness), *refs)
    return {CLUSTER: clusters, ENDPOINTS: endpoints, SCOPED_ROUTE: scopes}


class Proxy:
    """What Envoy keeps: resources, subscriptions to the endpoints of its clusters, answers due.

    ``excused`` counts the reasons for which a version it has may come again.
    """

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Resource]] = {type_url: {} for type_url in TYPES}
        self.excused: Counter[Reference] = Counter()
        self.outgoing: dict[str, deque[DeltaRequest]] = {}
        self.watched: set[str] = set()

    def connect(self) -> list[DeltaRequest]:
        self.outgoing = {type_url: deque() for type_url in TYPES}
        self.excused.clear()
        self.watched = self.endpoint_names()
        requests = [self._first(CLUSTER)]
        if self.watched:
            requests.append(self._first(ENDPOINTS, tuple(sorted(self.watched))))
        requests.append(self._first(SCOPED_ROUTE))
        return requests

    def _first(self, type_url: str, subscribe: tuple[str, ...] = ()) -> DeltaRequest:
        versions = {name: one.version for name, one in self.held[type_url].items()}
        return DeltaRequest(type_url, subscribe=subscribe, initial_versions=versions)

    def endpoint_names(self) -> set[str]:
        return {name for one in self.held[CLUSTER].values() for _, name in references_of(one)}

    def receive(self, response: DeltaResponse, applies_part: bool) -> None:
        type_url = response.type_url
        held = self.held[type_url]
        bad = [one.name for one in response.resources if not is_good(one)]
        batch = len(response.resources) + len(response.removed)
        for one in response.resources:
            if one.name in held and held[one.name].version == one.version:
                key = (type_url, one.name)
                assert self.excused[key] > 0, f"{key} sent twice at one version"
                self.excused[key] -= 1
        if not bad or applies_part:
            for name in response.removed:
                self._check_unused(type_url, name)
                held.pop(name, None)
            for one in response.resources:
                # Envoy drops endpoints that no cluster waits for any more.
                if is_good(one) and (type_url != ENDPOINTS or one.name in self.watched):
                    self._check_present(one)
                    held[one.name] = one
        if bad and batch > 1:
            for name in (*response.removed, *(one.name for one in response.resources)):
                self.excused[type_url, name] += 1
        if type_url == CLUSTER:
            for one in response.resources:
                self.excused.update(references_of(one))
        error = f"error in {bad[0]}" if bad else None
        self.outgoing[type_url].append(
            DeltaRequest(type_url, response_nonce=response.nonce, error=error)
        )
        self._watch_endpoints()

    def _watch_endpoints(self) -> None:
        names = self.endpoint_names()
        added, left = names - self.watched, self.watched - names
        if added or left:
            self.watched = names
            for name in left:
                self.held[ENDPOINTS].pop(name, None)
            self.excused.update((ENDPOINTS, name) for name in added)
            self.outgoing[ENDPOINTS].append(
                DeltaRequest(
                    ENDPOINTS, subscribe=tuple(sorted(added)), unsubscribe=tuple(sorted(left))
                )
            )

    def _check_present(self, resource: Resource) -> None:
        if resource.type_url == SCOPED_ROUTE:
            for _, cluster in references_of(resource):
                assert cluster in self.held[CLUSTER], f"{resource.name} names missing {cluster}"

    def _check_unused(self, type_url: str, name: str) -> None:
        if type_url == CLUSTER:
            for one in self.held[SCOPED_ROUTE].values():
                assert (CLUSTER, name) not in references_of(one), f"{name} taken from {one.name}"


class SessionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.proxy = Proxy()
        self.session = Session(references_of)
        self.incoming: deque[DeltaResponse] = deque()
        self.snapshot: dict[str, dict[str, Resource]] | None = None
        self.generation = 0
        self.nonces: list[str] = []

    def written(self, responses: list[DeltaResponse]) -> None:
        self.incoming.extend(responses)
        self.nonces.extend(response.nonce for response in responses)

    @initialize()
    def connect(self) -> None:
        for request in self.proxy.connect():
            self.written(self.session.on_request(request))

    @rule(snapshot=snapshots())
    def publish(self, snapshot: dict[str, dict[str, Resource]]) -> None:
        self.snapshot = snapshot
        self.generation += 1
        self.written(self.session.on_snapshot(snapshot, self.generation))

    @precondition(lambda self: self.incoming)
    @rule(applies_part=st.booleans())
    def deliver(self, applies_part: bool) -> None:
        self.proxy.receive(self.incoming.popleft(), applies_part)

    @rule(type_url=st.sampled_from(TYPES))
    def answer(self, type_url: str) -> None:
        if self.proxy.outgoing[type_url]:
            self.written(self.session.on_request(self.proxy.outgoing[type_url].popleft()))

    @precondition(lambda self: self.nonces)
    @rule(type_url=st.sampled_from(TYPES), data=st.data(), error=st.sampled_from((None, "x")))
    def stale_nonce(self, type_url: str, data: st.DataObject, error: str | None) -> None:
        nonce = data.draw(st.sampled_from(self.nonces))
        if self.session.statistics().types.get(type_url) is None:
            return
        if not self.session.awaits(type_url, nonce):
            request = DeltaRequest(type_url, response_nonce=nonce, error=error)
            assert self.session.on_request(request) == []

    @rule(knows_the_world=st.booleans())
    def reconnect(self, knows_the_world: bool) -> None:
        self.incoming.clear()
        self.nonces.clear()
        self.session = Session(references_of)
        if knows_the_world and self.snapshot is not None:
            self.written(self.session.on_snapshot(self.snapshot, self.generation))
        for request in self.proxy.connect():
            self.written(self.session.on_request(request))
        if self.snapshot is not None:
            self.written(self.session.on_snapshot(self.snapshot, self.generation))

    @rule(name=st.sampled_from(NAMES))
    def resubscribe(self, name: str) -> None:
        if name in self.proxy.watched:
            self.proxy.excused[ENDPOINTS, name] += 1
            self.proxy.outgoing[ENDPOINTS].append(DeltaRequest(ENDPOINTS, subscribe=(name,)))

    @rule()
    def drain(self) -> None:
        """Let everything arrive; then the proxy holds what it should, and nothing is sent."""
        for _ in range(500):
            if self.incoming:
                self.deliver(False)
            elif not self._answer_any():
                break
        else:
            raise AssertionError("the exchange does not end")
        if self.snapshot is not None:
            self._check_converged()

    def _answer_any(self) -> bool:
        for type_url in TYPES:
            if self.proxy.outgoing[type_url]:
                self.answer(type_url)
                return True
        return False

    def _check_converged(self) -> None:
        assert self.snapshot is not None
        held = self.proxy.held
        statistics = self.session.statistics()
        assert statistics.settled
        assert self.session.settled_generation == self.generation
        clusters = statistics.types[CLUSTER]
        accepted = clusters.accepted.keys() - clusters.doubtful
        reported = {finding.subject for finding in self.session.findings()}
        for type_url in TYPES:
            for name, want in self.snapshot[type_url].items():
                if type_url == ENDPOINTS and name not in self.proxy.watched:
                    continue
                if not is_good(want):
                    continue
                if all(one in accepted for kind, one in references_of(want) if kind == CLUSTER):
                    assert held[type_url].get(name) == want
        everything_good = all(
            is_good(one) for kind in self.snapshot.values() for one in kind.values()
        )
        if everything_good:
            assert reported == set()
            assert statistics.synced
            for type_url in TYPES:
                assert held[type_url].keys() == self.snapshot[type_url].keys()
        for name, want in self.snapshot[CLUSTER].items():
            assert (f"Cluster {name}" in reported) == (not is_good(want))

    @invariant()
    def one_response_per_type_is_under_way(self) -> None:
        under_way = Counter(response.type_url for response in self.incoming)
        for type_url, requests in self.proxy.outgoing.items():
            under_way[type_url] += sum(1 for one in requests if one.response_nonce)
        assert all(count <= 1 for count in under_way.values())

    @invariant()
    def accounting_matches_the_proxy_when_nothing_is_under_way(self) -> None:
        if self.incoming or any(self.proxy.outgoing.values()):
            return
        for type_url, one in self.session.statistics().types.items():
            if type_url == ENDPOINTS:
                continue
            held = {name: have.version for name, have in self.proxy.held[type_url].items()}
            for name in {*held, *one.accepted} - one.doubtful:
                assert one.accepted.get(name) == held.get(name)


TestSession = SessionMachine.TestCase
TestSession.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None, report_multiple_bugs=False
)
