"""The state machine that decides what to ask the API, against a model of the API."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import msgspec
import pytest
from culvert.kube.collection import Undecodable
from culvert.kube.errors import ApiError, ApiUnreachable
from culvert.kube.listing import Listing
from culvert.model.finding import Finding
from culvert.model.key import ObjectKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.kube_model_server import ModelServer


class Thing(msgspec.Struct):
    value: str


class _Object(msgspec.Struct):
    value: str


def decode(raw: msgspec.Raw) -> Thing | None:
    value = msgspec.json.decode(raw, type=_Object).value
    if value == "bad":
        raise Undecodable(Finding("CV0102", "Thing", "value", "is bad", "make it good"))
    return None if value == "boring" else Thing(value)


def ask(listing: Listing[Thing], server: ModelServer, cut_after: int | None = None) -> None:
    """One request and its answer; with ``cut_after`` the connection breaks after so many lines."""
    request = listing.next_request()
    try:
        if not request.is_watch:
            if cut_after == 0:
                raise ApiUnreachable("cut")
            listing.take_page(server.page(request))
            return
        for line in islice(server.watch(request), cut_after):
            listing.take_event(line)
        if cut_after is not None:
            raise ApiUnreachable("cut")
        listing.end()
    except (ApiError, ApiUnreachable) as error:
        listing.fail(error)


def settle(listing: Listing[Thing], server: ModelServer) -> None:
    """Enough requests for any state to come right: refused, listed page by page, watched."""
    for _ in range(12):
        ask(listing, server)


def values(listing: Listing[Thing]) -> dict[str, str]:
    return {key.name: thing.value for key, thing in listing.collection.items.items()}


def expected(server: ModelServer) -> dict[str, str]:
    return {name: value for name, (_, value) in server.objects.items() if value != "boring"}


_NAMES = st.sampled_from(["a", "b", "c", "d"])
_STEP = st.one_of(
    st.tuples(st.just("put"), _NAMES, st.sampled_from(["1", "2", "boring"])),
    st.tuples(st.just("delete"), _NAMES),
    st.tuples(st.just("compact")),
    st.tuples(st.just("ask")),
    st.tuples(st.just("cut"), st.integers(0, 3)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_STEP, max_size=30), st.booleans(), st.booleans())
def test_any_history_of_changes_cuts_and_compactions_ends_with_the_servers_state(
    steps: list[tuple[object, ...]], streams_lists: bool, prefers_streams: bool
) -> None:
    server = ModelServer(streams_lists=streams_lists)
    listing: Listing[Thing] = Listing(decode, page_objects=2, stream_lists=prefers_streams)
    actions: dict[object, Callable[..., None]] = {
        "put": server.put,
        "delete": server.delete,
        "compact": server.compact,
        "ask": lambda: ask(listing, server),
        "cut": lambda lines: ask(listing, server, cut_after=lines),
    }
    for name, *arguments in steps:
        actions[name](*arguments)
    settle(listing, server)
    assert listing.synced
    assert values(listing) == expected(server)


@pytest.fixture(params=[True, False], ids=["streamed", "paged"])
def server(request: pytest.FixtureRequest) -> ModelServer:
    server = ModelServer(streams_lists=request.param)
    for name in ("a", "b", "c"):
        server.put(name, "1")
    return server


@pytest.fixture
def listing(server: ModelServer) -> Listing[Thing]:
    listing: Listing[Thing] = Listing(decode, page_objects=2)
    settle(listing, server)
    return listing


def test_relist_after_410_removes_what_is_gone_and_keeps_the_rest_as_it_was(
    server: ModelServer, listing: Listing[Thing]
) -> None:
    before = listing.collection.items
    server.delete("b")
    server.compact()
    settle(listing, server)
    after = listing.collection.items
    assert set(after) == {ObjectKey("n", "a"), ObjectKey("n", "c")}
    assert all(after[key] is before[key] for key in after)


def test_relist_of_the_same_state_is_no_change(
    server: ModelServer, listing: Listing[Thing]
) -> None:
    before, revision = listing.collection.items, listing.collection.revision
    server.compact()
    server.version += 1
    server.compact()
    settle(listing, server)
    assert listing.lists == 2
    assert listing.collection.revision == revision
    assert listing.collection.items is before


def test_a_new_version_with_the_same_value_is_no_change(
    server: ModelServer, listing: Listing[Thing]
) -> None:
    before = listing.collection.items
    server.put("a", "1")
    ask(listing, server)
    assert listing.collection.items is before


def test_a_bad_object_is_a_finding_and_keeps_its_last_good_value(
    server: ModelServer, listing: Listing[Thing]
) -> None:
    server.put("a", "bad")
    server.put("new", "bad")
    ask(listing, server)
    assert values(listing) == {"a": "1", "b": "1", "c": "1"}
    assert [finding.message for finding in listing.collection.findings] == ["is bad"] * 2
    server.put("a", "2")
    server.delete("new")
    ask(listing, server)
    assert values(listing)["a"] == "2"
    assert listing.collection.findings == ()


def test_a_bad_object_does_not_inherit_from_another_of_its_name(listing: Listing[Thing]) -> None:
    line = (
        b'{"type":"ADDED","object":{"metadata":{"namespace":"n","name":"a","uid":"other",'
        b'"resourceVersion":"99"},"value":"bad"}}'
    )
    listing.take_event(line)
    assert "a" not in values(listing)


def test_a_watch_that_is_cut_is_taken_up_where_it_was(
    server: ModelServer, listing: Listing[Thing]
) -> None:
    server.put("a", "2")
    server.put("b", "2")
    ask(listing, server, cut_after=1)
    request = listing.next_request()
    assert listing.is_watching
    assert request.params["resourceVersion"] == str(server.version - 1)
    ask(listing, server)
    assert values(listing) == expected(server)
    assert listing.lists == 1


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_a_server_that_is_busy_costs_no_new_list(listing: Listing[Thing], status: int) -> None:
    listing.fail(ApiError(status))
    assert listing.is_watching


def test_a_line_that_is_no_event_leads_to_a_new_list(
    server: ModelServer, listing: Listing[Thing]
) -> None:
    with pytest.raises(ApiUnreachable):
        listing.take_event(b'{"type":"ADDED"')
    assert not listing.is_watching
    settle(listing, server)
    assert values(listing) == expected(server)


def test_a_kind_is_absent_only_when_the_server_says_so_twice() -> None:
    listing: Listing[Thing] = Listing(decode, optional=True)
    listing.fail(ApiError(404, "NotFound"))
    listing.fail(ApiUnreachable("starting"))
    listing.fail(ApiError(404, "NotFound"))
    assert not listing.absent
    listing.fail(ApiError(404, "NotFound"))
    assert listing.absent
    assert listing.synced


def test_a_kind_that_has_to_be_there_is_never_absent() -> None:
    listing: Listing[Thing] = Listing(decode)
    for _ in range(5):
        listing.fail(ApiError(404, "NotFound"))
    assert not listing.synced


def test_a_kind_that_is_uninstalled_takes_its_objects_with_it(server: ModelServer) -> None:
    listing: Listing[Thing] = Listing(decode, optional=True)
    settle(listing, server)
    for _ in range(3):
        listing.fail(ApiError(404, "NotFound"))
    assert listing.absent
    assert values(listing) == {}
    settle(listing, server)
    assert not listing.absent
    assert values(listing) == expected(server)


@pytest.mark.parametrize("has_old_etcd", [True, False])
def test_a_server_that_cannot_stream_a_list_is_asked_for_pages_at_once(has_old_etcd: bool) -> None:
    server = ModelServer(streams_lists=False, has_old_etcd=has_old_etcd)
    server.put("a", "1")
    listing: Listing[Thing] = Listing(decode)
    ask(listing, server)
    assert not listing.next_request().is_watch
    ask(listing, server)
    assert values(listing) == {"a": "1"}


def test_a_list_whose_pages_expire_is_then_asked_for_in_one(server: ModelServer) -> None:
    listing: Listing[Thing] = Listing(decode, page_objects=1, stream_lists=False)
    ask(listing, server)
    server.version += 1
    server.compact()
    ask(listing, server)
    assert "limit" not in listing.next_request().params
    ask(listing, server)
    assert values(listing) == expected(server)
