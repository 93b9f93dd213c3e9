"""No caller past the mesh is let in whom policies would refuse."""

from __future__ import annotations

from typing import TypeVar

from culvert.compile.authorization.assignment import at_port
from culvert.compile.authorization.evaluate import evaluate
from culvert.compile.authorization.facts import Connection, HttpRequest
from culvert.compile.authorization.strangers import closed_to_strangers
from culvert.model.policy import (
    AssignedPolicy,
    AuthorizationAction,
    AuthorizationPolicy,
    Condition,
    Operation,
    Rule,
    Source,
)
from hypothesis import event, given, settings
from hypothesis import strategies as st

Value = TypeVar("Value")

PORTS = (80, 81, 82)


def some(*values: Value) -> st.SearchStrategy[tuple[Value, ...]]:
    """Seldom more than one, often none."""
    return st.one_of(st.just(()), st.just(()), st.lists(st.sampled_from(values)).map(tuple))


principals = some("cluster.local/ns/shop/sa/front", "*", "*front")
namespaces = some("shop", "*")
blocks = some("10.0.0.1/32", "10.0.0.0/8", "0.0.0.0/0")
sources = st.builds(
    Source,
    principals=principals,
    not_principals=principals,
    namespaces=namespaces,
    not_namespaces=namespaces,
    ip_blocks=blocks,
    not_ip_blocks=blocks,
)
paths, methods = some("/", "/a*", "*"), some("GET", "POST")
operations = st.builds(
    Operation,
    ports=some(*PORTS[:2]),
    not_ports=some(*PORTS[:2]),
    methods=methods,
    not_methods=methods,
    paths=paths,
    not_paths=paths,
)
conditions = st.one_of(
    *(
        st.builds(Condition, key=st.just(key), values=values, not_values=values)
        for key, values in (
            ("source.principal", principals),
            ("source.namespace", namespaces),
            ("source.ip", blocks),
            ("destination.port", some("80", "81", "8*")),
            ("request.headers[x-user]", some("a", "*")),
        )
    )
)


def lists(of: st.SearchStrategy[Value]) -> st.SearchStrategy[tuple[Value, ...]]:
    return st.lists(of, max_size=2).map(tuple)


rules = st.builds(
    Rule, sources=lists(sources), operations=lists(operations), conditions=lists(conditions)
)
policies = st.builds(
    AuthorizationPolicy,
    namespace=st.just("shop"),
    name=st.sampled_from("abc"),
    action=st.sampled_from(AuthorizationAction),
    rules=lists(rules),
    dry_run=st.sampled_from([False, False, True]),
)
assigned = lists(
    st.builds(
        AssignedPolicy,
        policies,
        st.one_of(st.none(), st.none(), st.frozensets(st.sampled_from(PORTS), min_size=1)),
    )
)
strangers = st.builds(
    Connection,
    source_address=st.sampled_from(["10.0.0.1", "10.0.0.2", "192.0.2.1"]),
    destination_address=st.just("10.0.0.9"),
    destination_port_host=st.sampled_from(PORTS),
)
requests = st.one_of(
    st.none(),
    st.builds(
        HttpRequest,
        method=st.sampled_from(["GET", "POST"]),
        path=st.sampled_from(["/", "/ab", "/b"]),
        headers=st.sampled_from([{}, {"x-user": "a"}]),
    ),
)


@settings(max_examples=1500)
@given(assigned, strangers, requests)
def test_port_that_is_not_closed_refuses_no_stranger(
    some_policies: tuple[AssignedPolicy, ...],
    stranger: Connection,
    request: HttpRequest | None,
) -> None:
    port = stranger.destination_port_host
    decision = evaluate(at_port(some_policies, port), stranger, request)
    closed = closed_to_strangers(some_policies).at(port)
    event(f"allowed {decision.allowed}, closed {closed}")
    assert decision.allowed or closed
