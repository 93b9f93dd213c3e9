"""The rules of a delta stream, one claim each."""

from __future__ import annotations

from culvert.model.desired import Resource
from culvert.xds.exchange import DeltaRequest, DeltaResponse
from culvert.xds.resource_types import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    ROUTE,
    SCOPED_ROUTE,
    SECRET,
)
from culvert.xds.session import Reference, Session


def resource(type_url: str, name: str, version: str = "1", *refs: Reference) -> Resource:
    """A resource whose body lists what it refers to, for ``body_references``."""
    body = "\n".join(f"{kind} {target}" for kind, target in sorted(refs))
    return Resource(type_url, name, version, body.encode())


def body_references(one: Resource) -> frozenset[Reference]:
    lines = one.body.decode().splitlines()
    return frozenset((kind, name) for kind, _, name in (line.partition(" ") for line in lines))


def snapshot(*resources: Resource) -> dict[str, dict[str, Resource]]:
    types: dict[str, dict[str, Resource]] = {}
    for one in resources:
        types.setdefault(one.type_url, {})[one.name] = one
    return types


def new_session() -> Session:
    return Session(body_references)


def ack(response: DeltaResponse) -> DeltaRequest:
    return DeltaRequest(response.type_url, response_nonce=response.nonce)


def nack(response: DeltaResponse, error: str = "bad") -> DeltaRequest:
    return DeltaRequest(response.type_url, response_nonce=response.nonce, error=error)


def names(response: DeltaResponse) -> list[str]:
    return [one.name for one in response.resources]


def only(responses: list[DeltaResponse]) -> DeltaResponse:
    (response,) = responses
    return response


def settle(session: Session, responses: list[DeltaResponse]) -> list[DeltaResponse]:
    """Accept everything; return all responses in the order they were written."""
    written = []
    queue = list(responses)
    while queue:
        response = queue.pop(0)
        written.append(response)
        queue += session.on_request(ack(response))
    return written


def cluster(name: str, version: str = "1") -> Resource:
    return resource(CLUSTER, name, version)


def eds_cluster(name: str, version: str = "1") -> Resource:
    return resource(CLUSTER, name, version, (ENDPOINTS, name))


def endpoints(name: str, version: str = "1") -> Resource:
    return resource(ENDPOINTS, name, version)


def scope(name: str, to: str, version: str = "1") -> Resource:
    return resource(SCOPED_ROUTE, name, version, (CLUSTER, to))


class TestBeforeTheFirstSnapshot:
    def test_nothing_is_answered(self) -> None:
        session = new_session()
        assert session.on_request(DeltaRequest(CLUSTER)) == []
        assert session.on_request(DeltaRequest(ENDPOINTS, subscribe=("a",))) == []
        assert not session.statistics().settled

    def test_the_snapshot_answers_what_was_asked_before(self) -> None:
        session = new_session()
        session.on_request(DeltaRequest(CLUSTER))
        assert names(only(session.on_snapshot(snapshot(cluster("a"))))) == ["a"]

    def test_a_reconnecting_proxy_is_told_nothing_that_it_has(self) -> None:
        session = new_session()
        session.on_request(DeltaRequest(CLUSTER, initial_versions={"a": "1"}))
        response = only(session.on_snapshot(snapshot(cluster("a"))))
        assert (response.resources, response.removed) == ((), ())


class TestSubscriptions:
    def test_first_wildcard_request_is_answered_even_when_there_is_nothing(self) -> None:
        session = new_session()
        session.on_snapshot({})
        response = only(session.on_request(DeltaRequest(LISTENER)))
        assert (response.resources, response.removed) == ((), ())
        assert session.on_request(ack(response)) == []

    def test_explicit_wildcard_is_as_the_implicit_one(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(endpoints("a"), endpoints("b")))
        response = only(session.on_request(DeltaRequest(ENDPOINTS, subscribe=("*",))))
        assert names(response) == ["a", "b"]

    def test_empty_first_request_for_endpoints_is_no_wildcard(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(endpoints("a")))
        assert session.on_request(DeltaRequest(ENDPOINTS)) == []

    def test_only_subscribed_names_are_sent(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(endpoints("a"), endpoints("b")))
        response = only(session.on_request(DeltaRequest(ENDPOINTS, subscribe=("b",))))
        assert names(response) == ["b"]

    def test_missing_name_is_answered_by_its_absence(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(endpoints("a")))
        response = only(session.on_request(DeltaRequest(ENDPOINTS, subscribe=("nope",))))
        assert response.removed == ("nope",)
        assert session.on_request(ack(response)) == []

    def test_missing_name_is_sent_once_it_appears(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot())
        settle(session, session.on_request(DeltaRequest(ENDPOINTS, subscribe=("a",))))
        assert names(only(session.on_snapshot(snapshot(endpoints("a"))))) == ["a"]

    def test_resubscribed_name_is_sent_again_at_the_same_version(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(endpoints("a")))
        settle(session, session.on_request(DeltaRequest(ENDPOINTS, subscribe=("a",))))
        again = session.on_request(DeltaRequest(ENDPOINTS, subscribe=("a",)))
        assert names(only(again)) == ["a"]

    def test_resubscribing_while_under_way_sends_once_more_after_the_answer(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(endpoints("a")))
        first = only(session.on_request(DeltaRequest(ENDPOINTS, subscribe=("a",))))
        assert session.on_request(DeltaRequest(ENDPOINTS, subscribe=("a",))) == []
        second = only(session.on_request(ack(first)))
        assert names(second) == ["a"]
        assert session.on_request(ack(second)) == []

    def test_unsubscribed_name_is_neither_updated_nor_removed(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(endpoints("a")))
        settle(session, session.on_request(DeltaRequest(ENDPOINTS, subscribe=("a",))))
        session.on_request(DeltaRequest(ENDPOINTS, unsubscribe=("a",)))
        assert session.on_snapshot(snapshot(endpoints("a", "2"))) == []
        assert session.on_snapshot(snapshot()) == []

    def test_name_dropped_while_under_way_is_sent_when_asked_for_again(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(endpoints("a")))
        first = only(session.on_request(DeltaRequest(ENDPOINTS, subscribe=("a",))))
        session.on_request(DeltaRequest(ENDPOINTS, unsubscribe=("a",)))
        session.on_request(DeltaRequest(ENDPOINTS, subscribe=("a",)))
        assert names(only(session.on_request(ack(first)))) == ["a"]

    def test_leaving_a_name_under_a_wildcard_is_confirmed(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(cluster("a")))
        settle(session, session.on_request(DeltaRequest(CLUSTER, subscribe=("*", "a", "gone"))))
        responses = session.on_request(DeltaRequest(CLUSTER, unsubscribe=("a", "gone")))
        assert names(only(responses)) == ["a"]
        assert only(responses).removed == ("gone",)

    def test_leaving_the_wildcard_keeps_the_names(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(cluster("a"), cluster("b")))
        settle(session, session.on_request(DeltaRequest(CLUSTER, subscribe=("*", "a"))))
        session.on_request(DeltaRequest(CLUSTER, unsubscribe=("*",)))
        responses = session.on_snapshot(snapshot(cluster("a", "2"), cluster("b", "2")))
        assert names(only(responses)) == ["a"]

    def test_unknown_type_gets_an_empty_answer_and_a_finding(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(cluster("a")))
        response = only(session.on_request(DeltaRequest("type.googleapis.com/x.Y")))
        assert response.resources == ()
        assert [finding.code for finding in session.findings()] == ["CV0503"]

    def test_secrets_are_served_like_any_other_type(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(resource(SECRET, "s")))
        response = only(session.on_request(DeltaRequest(SECRET, subscribe=("s",))))
        assert names(response) == ["s"]

    def test_a_name_that_is_held_back_is_answered_when_it_comes(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(Resource.held_back(SECRET, "s")))
        assert session.on_request(DeltaRequest(SECRET, subscribe=("s",))) == []
        assert session.statistics().settled
        response = only(session.on_snapshot(snapshot(resource(SECRET, "s"))))
        assert names(response) == ["s"]

    def test_what_is_held_back_leaves_the_proxy_what_it_has(self) -> None:
        session = new_session()
        session.on_request(DeltaRequest(SECRET, subscribe=("s",), initial_versions={"s": "1"}))
        assert session.on_snapshot(snapshot(Resource.held_back(SECRET, "s"))) == []
        assert session.on_request(DeltaRequest(SECRET, subscribe=("s",))) == []
        assert names(only(session.on_snapshot(snapshot(resource(SECRET, "s", "1"))))) == ["s"]

    def test_a_cluster_on_demand_goes_to_who_names_it(self) -> None:
        session = new_session()
        wanted = snapshot(cluster("a"), cluster("tunnel|10.1.0.1"), cluster("tunnel|10.1.0.2"))
        session.on_snapshot(wanted)
        written = settle(session, session.on_request(DeltaRequest(CLUSTER)))
        assert [names(one) for one in written] == [["a"]]
        asked = session.on_request(DeltaRequest(CLUSTER, subscribe=("tunnel|10.1.0.2",)))
        assert names(only(asked)) == ["tunnel|10.1.0.2"]

    def test_a_vanished_cluster_on_demand_is_removed_where_it_is_held(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(cluster("tunnel|10.1.0.1"), cluster("tunnel|10.1.0.2")))
        settle(session, session.on_request(DeltaRequest(CLUSTER)))
        settle(session, session.on_request(DeltaRequest(CLUSTER, subscribe=("tunnel|10.1.0.1",))))
        assert only(session.on_snapshot(snapshot())).removed == ("tunnel|10.1.0.1",)


class TestReconnection:
    def test_same_versions_are_not_sent_again(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(eds_cluster("a"), endpoints("a")))
        assert (
            only(session.on_request(DeltaRequest(CLUSTER, initial_versions={"a": "1"}))).resources
            == ()
        )
        assert (
            session.on_request(
                DeltaRequest(ENDPOINTS, subscribe=("a",), initial_versions={"a": "1"})
            )
            == []
        )

    def test_other_versions_are_sent(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(cluster("a", "2"), cluster("b")))
        request = DeltaRequest(CLUSTER, initial_versions={"a": "1", "b": "1"})
        assert names(only(session.on_request(request))) == ["a"]

    def test_vanished_resources_are_removed(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(cluster("b")))
        request = DeltaRequest(CLUSTER, initial_versions={"a": "1", "b": "1"})
        response = only(session.on_request(request))
        assert (response.resources, response.removed) == ((), ("a",))

    def test_vanished_cluster_stays_until_the_routes_are_known(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(cluster("b"), scope("s", "b", "2")))
        first = session.on_request(DeltaRequest(CLUSTER, initial_versions={"a": "1", "b": "1"}))
        assert only(first).removed == ()
        assert session.on_request(ack(only(first))) == []
        routes = only(
            session.on_request(DeltaRequest(SCOPED_ROUTE, initial_versions={"s": "unseen"}))
        )
        assert names(routes) == ["s"]
        assert only(session.on_request(ack(routes))).removed == ("a",)

    def test_endpoints_asked_for_before_clusters_are_sent_whatever_their_version(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(eds_cluster("a"), endpoints("a")))
        request = DeltaRequest(ENDPOINTS, subscribe=("a",), initial_versions={"a": "1"})
        assert names(only(session.on_request(request))) == ["a"]

    def test_endpoints_of_a_cluster_changed_meanwhile_are_sent_again(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(eds_cluster("a", "2"), endpoints("a")))
        session.on_request(DeltaRequest(CLUSTER, initial_versions={"a": "1"}))
        request = DeltaRequest(ENDPOINTS, subscribe=("a",), initial_versions={"a": "1"})
        assert names(only(session.on_request(request))) == ["a"]


class TestAnswers:
    def test_one_response_per_type_is_under_way_and_snapshots_coalesce(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(cluster("a")))
        first = only(session.on_request(DeltaRequest(CLUSTER)))
        assert session.on_snapshot(snapshot(cluster("a", "2")), 2) == []
        assert session.on_snapshot(snapshot(cluster("a", "3")), 3) == []
        second = only(session.on_request(ack(first)))
        assert [one.version for one in second.resources] == ["3"]

    def test_stale_nonce_changes_nothing(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(cluster("a")))
        first = only(session.on_request(DeltaRequest(CLUSTER)))
        second = only(settle(session, [first])[1:] or session.on_snapshot(snapshot(cluster("b"))))
        assert session.on_request(nack(first)) == []
        assert session.findings() == ()
        assert session.statistics().types[CLUSTER].stale_nonces == 1
        assert session.statistics().types[CLUSTER].in_flight == len(second.resources) + len(
            second.removed
        )

    def test_subscription_in_a_request_with_a_stale_nonce_counts(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(endpoints("a"), endpoints("b")))
        settle(session, session.on_request(DeltaRequest(ENDPOINTS, subscribe=("a",))))
        request = DeltaRequest(ENDPOINTS, subscribe=("b",), response_nonce="99")
        assert names(only(session.on_request(request))) == ["b"]

    def test_vanished_resource_is_removed_once(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(cluster("a")))
        settle(session, session.on_request(DeltaRequest(CLUSTER)))
        response = only(session.on_snapshot(snapshot()))
        assert response.removed == ("a",)
        assert session.on_request(ack(response)) == []

    def test_a_large_type_goes_in_parts(self) -> None:
        session = Session(max_response_bytes=10)
        parts = [Resource(CLUSTER, f"c{i}", "1", b"12345678") for i in range(3)]
        session.on_snapshot(snapshot(*parts))
        written = settle(session, session.on_request(DeltaRequest(CLUSTER)))
        assert [names(one) for one in written] == [["c0"], ["c1"], ["c2"]]
        assert session.statistics().synced


class TestRejection:
    def test_rejected_version_is_reported_and_not_sent_again(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(cluster("a")))
        settle(session, session.on_request(DeltaRequest(CLUSTER)))
        response = only(session.on_snapshot(snapshot(cluster("a", "2"))))
        assert session.on_request(nack(response, "no such field")) == []
        (finding,) = session.findings()
        assert finding.code == "CV0501"
        assert finding.subject == "Cluster a"
        assert "no such field" in finding.message
        assert "keeps version 1" in finding.message
        assert session.on_snapshot(snapshot(cluster("a", "2"))) == []
        assert session.statistics().types[CLUSTER].accepted == {"a": "1"}

    def test_rejection_ends_with_the_version(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(cluster("a")))
        session.on_request(nack(only(session.on_request(DeltaRequest(CLUSTER)))))
        response = only(session.on_snapshot(snapshot(cluster("a", "2"))))
        assert session.findings() == ()
        session.on_request(ack(response))
        assert session.statistics().synced

    def test_going_back_to_the_accepted_version_sends_nothing(self) -> None:
        session = new_session()
        good = snapshot(cluster("a"))
        session.on_snapshot(good)
        settle(session, session.on_request(DeltaRequest(CLUSTER)))
        session.on_request(nack(only(session.on_snapshot(snapshot(cluster("a", "2"))))))
        assert session.on_snapshot(good) == []
        assert session.statistics().synced

    def test_only_the_bad_resource_of_a_batch_is_rejected(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(*(cluster(f"c{i:02}") for i in range(40))))
        queue = session.on_request(DeltaRequest(CLUSTER))
        sent = 0
        while queue:
            response = queue.pop(0)
            sent += 1
            bad = "c17" in names(response)
            queue += session.on_request(nack(response, "broken") if bad else ack(response))
        statistics = session.statistics()
        assert [finding.subject for finding in session.findings()] == ["Cluster c17"]
        assert len(statistics.types[CLUSTER].accepted) == 39
        assert statistics.settled
        assert not statistics.synced
        assert sent <= 14

    def test_an_error_that_names_the_resource_finds_it_at_once(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(*(cluster(f"c{i:02}") for i in range(40))))
        first = only(session.on_request(DeltaRequest(CLUSTER)))
        second = only(session.on_request(nack(first, "cluster c17: bad")))
        assert "c17" not in names(second)
        assert len(names(second)) == 39
        third = only(session.on_request(ack(second)))
        assert names(third) == ["c17"]
        assert session.on_request(nack(third, "cluster c17: bad")) == []

    def test_part_of_a_rejected_batch_is_sent_again_even_when_it_goes_back(self) -> None:
        session = new_session()
        before = snapshot(cluster("a"), cluster("b"))
        session.on_snapshot(before)
        settle(session, session.on_request(DeltaRequest(CLUSTER)))
        batch = only(session.on_snapshot(snapshot(cluster("a", "2"), cluster("b", "2"))))
        session.on_snapshot(before)
        # The proxy may have applied a at version 2 although it rejected the batch.
        written = settle(session, session.on_request(nack(batch)))
        assert sorted(name for one in written for name in names(one)) == ["a", "b"]

    def test_rejected_removal_is_reported_and_not_repeated(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(cluster("a")))
        settle(session, session.on_request(DeltaRequest(CLUSTER)))
        response = only(session.on_snapshot(snapshot()))
        assert session.on_request(nack(response)) == []
        assert [finding.code for finding in session.findings()] == ["CV0502"]


class TestOrder:
    def test_clusters_and_endpoints_precede_routes(self) -> None:
        session = new_session()
        for request in (
            DeltaRequest(SCOPED_ROUTE),
            DeltaRequest(ENDPOINTS, subscribe=("a",)),
            DeltaRequest(LISTENER),
            DeltaRequest(CLUSTER),
        ):
            session.on_request(request)
        written = settle(
            session,
            session.on_snapshot(
                snapshot(
                    scope("s", "a"),
                    resource(LISTENER, "l"),
                    endpoints("a"),
                    eds_cluster("a"),
                )
            ),
        )
        assert [one.type_url for one in written] == [CLUSTER, ENDPOINTS, LISTENER, SCOPED_ROUTE]

    def test_route_waits_for_its_cluster_alone(self) -> None:
        session = new_session()
        for type_url in (CLUSTER, SCOPED_ROUTE):
            session.on_request(DeltaRequest(type_url))
        settle(session, session.on_snapshot(snapshot(cluster("a"), scope("s", "a"))))
        responses = session.on_snapshot(
            snapshot(cluster("a"), cluster("b"), scope("s", "a", "2"), scope("t", "b"))
        )
        assert [one.type_url for one in responses] == [CLUSTER, SCOPED_ROUTE]
        assert names(responses[1]) == ["s"]
        session.on_request(ack(responses[1]))
        assert names(only(session.on_request(ack(responses[0])))) == ["t"]

    def test_replaced_cluster_outlives_the_switch_of_its_route(self) -> None:
        session = new_session()
        for type_url in (CLUSTER, SCOPED_ROUTE):
            session.on_request(DeltaRequest(type_url))
        settle(session, session.on_snapshot(snapshot(cluster("a"), scope("s", "a"))))
        written = settle(session, session.on_snapshot(snapshot(cluster("b"), scope("s", "b", "2"))))
        assert [(one.type_url, names(one), one.removed) for one in written] == [
            (CLUSTER, ["b"], ()),
            (SCOPED_ROUTE, ["s"], ()),
            (CLUSTER, [], ("a",)),
        ]

    def test_scope_is_replaced_in_one_response_once_its_cluster_is_there(self) -> None:
        session = new_session()
        for type_url in (CLUSTER, SCOPED_ROUTE):
            session.on_request(DeltaRequest(type_url))
        settle(session, session.on_snapshot(snapshot(cluster("a"), scope("s1", "a"))))
        written = settle(session, session.on_snapshot(snapshot(cluster("b"), scope("s2", "b"))))
        assert [(one.type_url, names(one), one.removed) for one in written] == [
            (CLUSTER, ["b"], ()),
            (SCOPED_ROUTE, ["s2"], ("s1",)),
            (CLUSTER, [], ("a",)),
        ]

    def test_route_keeps_its_last_good_version_while_the_new_cluster_is_rejected(self) -> None:
        session = new_session()
        for type_url in (CLUSTER, SCOPED_ROUTE):
            session.on_request(DeltaRequest(type_url))
        settle(session, session.on_snapshot(snapshot(cluster("a"), scope("s", "a"))))
        response = only(session.on_snapshot(snapshot(cluster("b"), scope("s", "b", "2"))))
        assert session.on_request(nack(response)) == []
        statistics = session.statistics()
        assert statistics.settled
        assert statistics.types[CLUSTER].accepted == {"a": "1"}
        assert statistics.types[SCOPED_ROUTE].accepted == {"s": "1"}

    def test_route_to_a_static_cluster_waits_for_nothing(self) -> None:
        session = new_session()
        session.on_request(DeltaRequest(SCOPED_ROUTE))
        assert names(only(session.on_snapshot(snapshot(scope("s", "in-bootstrap"))))) == ["s"]

    def test_route_waits_while_its_cluster_is_being_removed(self) -> None:
        session = new_session()
        for type_url in (CLUSTER, SCOPED_ROUTE):
            session.on_request(DeltaRequest(type_url))
        settle(session, session.on_snapshot(snapshot(cluster("a"))))
        removal = only(session.on_snapshot(snapshot()))
        assert removal.removed == ("a",)
        assert session.on_snapshot(snapshot(cluster("a"), scope("s", "a"))) == []
        written = settle(session, session.on_request(ack(removal)))
        assert [one.type_url for one in written] == [CLUSTER, SCOPED_ROUTE]

    def test_route_waits_for_a_cluster_that_a_rejected_batch_may_have_removed(self) -> None:
        session = new_session()
        for type_url in (CLUSTER, SCOPED_ROUTE):
            session.on_request(DeltaRequest(type_url))
        settle(session, session.on_snapshot(snapshot(cluster("a"))))
        batch = only(session.on_snapshot(snapshot(cluster("bad"))))
        assert batch.removed == ("a",)
        session.on_snapshot(snapshot(cluster("a", "2"), scope("s", "a")))
        response = only(session.on_request(nack(batch)))
        assert (response.type_url, names(response)) == (CLUSTER, ["a"])
        rest = only(session.on_request(nack(response)))
        assert (rest.type_url, rest.removed) == (CLUSTER, ("bad",))

    def test_first_listeners_wait_for_their_clusters_rather_than_being_answered_empty(
        self,
    ) -> None:
        session = new_session()
        for type_url in (CLUSTER, LISTENER):
            session.on_request(DeltaRequest(type_url))
        responses = session.on_snapshot(
            snapshot(cluster("a"), resource(LISTENER, "l", "1", (CLUSTER, "a")))
        )
        assert only(responses).type_url == CLUSTER
        assert names(only(session.on_request(ack(responses[0])))) == ["l"]

    def test_endpoints_do_not_wait_for_the_cluster_that_warms_on_them(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(eds_cluster("a"), endpoints("a")))
        only(session.on_request(DeltaRequest(CLUSTER)))
        assert names(only(session.on_request(DeltaRequest(ENDPOINTS, subscribe=("a",))))) == ["a"]

    def test_endpoints_follow_a_changed_cluster(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(eds_cluster("a"), endpoints("a")))
        settle(session, session.on_request(DeltaRequest(CLUSTER)))
        settle(session, session.on_request(DeltaRequest(ENDPOINTS, subscribe=("a",))))
        responses = session.on_snapshot(snapshot(eds_cluster("a", "2"), endpoints("a")))
        assert [one.type_url for one in responses] == [CLUSTER, ENDPOINTS]

    def test_endpoints_shared_with_a_new_cluster_are_sent_again(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(eds_cluster("a"), endpoints("a")))
        settle(session, session.on_request(DeltaRequest(CLUSTER)))
        settle(session, session.on_request(DeltaRequest(ENDPOINTS, subscribe=("a",))))
        twin = resource(CLUSTER, "a6", "1", (ENDPOINTS, "a"))
        responses = session.on_snapshot(snapshot(eds_cluster("a"), twin, endpoints("a")))
        assert [names(one) for one in responses] == [["a6"], ["a"]]

    def test_endpoints_are_not_removed_under_a_cluster_that_is_leaving(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(eds_cluster("a"), endpoints("a")))
        settle(session, session.on_request(DeltaRequest(CLUSTER)))
        settle(session, session.on_request(DeltaRequest(ENDPOINTS, subscribe=("a",))))
        assert only(session.on_snapshot(snapshot())).type_url == CLUSTER

    def test_named_routes_follow_their_listener(self) -> None:
        session = new_session()
        session.on_snapshot(
            snapshot(resource(LISTENER, "l", "1", (ROUTE, "r")), resource(ROUTE, "r"))
        )
        settle(session, session.on_request(DeltaRequest(LISTENER)))
        assert names(only(session.on_request(DeltaRequest(ROUTE, subscribe=("r",))))) == ["r"]


class TestSettled:
    def test_a_proxy_that_has_not_asked_for_all_types_is_not_settled(self) -> None:
        session = new_session()
        session.on_snapshot(snapshot(cluster("a"), scope("s", "a")), 7)
        settle(session, session.on_request(DeltaRequest(CLUSTER)))
        assert not session.statistics().settled
        settle(session, session.on_request(DeltaRequest(SCOPED_ROUTE)))
        assert session.statistics().synced
        assert session.settled_generation == 7

    def test_a_proxy_that_has_not_asked_for_the_endpoints_of_its_clusters_is_not_settled(
        self,
    ) -> None:
        session = new_session()
        session.on_snapshot(snapshot(eds_cluster("a"), endpoints("a")), 3)
        settle(session, session.on_request(DeltaRequest(CLUSTER)))
        assert not session.statistics().settled
        settle(session, session.on_request(DeltaRequest(ENDPOINTS, subscribe=("a",))))
        assert session.statistics().synced
