"""The grammars of annotations, and who wins where several have a say."""

from __future__ import annotations

from typing import Any

import pytest
from culvert.compile.annotations import grammar, registry
from culvert.compile.annotations.reader import MAX_PROBLEMS, Reader
from culvert.compile.annotations.registry import ANNOTATIONS, PREFIX, SESSION_AFFINITY, On
from culvert.compile.protocol import Protocol
from culvert.compile.retries import any_method_conditions
from culvert.compile.traffic import ServicePolicy, merge, settle_traffic
from culvert.model.duration import parse_duration_seconds
from culvert.model.service import Service, ServicePort, TrafficDistribution
from culvert.model.settings import Settings
from culvert.model.traffic import (
    NO_AFFINITY,
    NOTHING_SAID,
    UNSEEN_BY_ENDPOINT,
    AffinityKind,
    Locality,
    RetryCondition,
    SessionAffinity,
    TrafficOverrides,
)
from hypothesis import given
from hypothesis import strategies as st

WEB = ServicePort(80, "web")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("0s", 0), ("15s", 15), ("1h30m", 5400), ("250ms", 0.25), ("1s1ms", 1.001)],
)
def test_durations_are_those_of_the_gateway_api(text: str, seconds: float) -> None:
    assert parse_duration_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "15", "1.5s", "-1s", "1d", "1s ", "100000s", "1h1m1s1ms1ms", "١s", "1s\n"]
)
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration_seconds(text)


@given(st.sampled_from(ANNOTATIONS), st.text())
def test_every_text_gives_a_value_or_a_problem(annotation: Any, text: str) -> None:
    parsed = annotation.parse(text)
    assert parsed.value is not None or parsed.problems


def test_names_are_unique_and_carry_the_prefix() -> None:
    names = [annotation.name for annotation in ANNOTATIONS]
    assert len(set(names)) == len(names)
    assert all(name.startswith(PREFIX) for name in names)


def test_header_and_cookie_names_hold_no_line_breaks() -> None:
    assert SESSION_AFFINITY.parse("header=x\r\ny").value is None
    assert SESSION_AFFINITY.parse("cookie=a;b").value is None


def test_numbers_beyond_their_range_are_refused_however_long() -> None:
    assert grammar.whole_number(0, 10)("9" * 5000).value is None
    assert grammar.ports("9" * 5000).value == frozenset()


@pytest.mark.parametrize(
    ("on", "labels", "annotations", "remedy"),
    [
        (On.SERVICE, {}, {"culvert.dev/acceleration": "enabled"}, "put it on a Pod"),
        (On.SERVICE, {"culvert.dev/retries": "1"}, {}, "make it an annotation"),
        (On.POD, {}, {"culvert.dev/mesh": "enabled"}, "make it a label"),
        (On.SERVICE, {}, {"culvert.dev/retry": "1"}, "did you mean culvert.dev/retry-on?"),
        (On.POD, {}, {"culvert.dev/zzz": "1"}, "remove it"),
    ],
)
def test_a_name_in_the_wrong_place_says_where_it_belongs(
    on: On, labels: dict[str, str], annotations: dict[str, str], remedy: str
) -> None:
    (finding,) = Reader(on, "a/b", labels, annotations).findings
    assert (finding.code, finding.remedy) == ("CV0402", remedy)


def test_the_stronger_wins_item_by_item() -> None:
    settled = settle_traffic(
        Settings(
            connect_timeout_seconds=7,
            traffic=TrafficOverrides(request_timeout_seconds=1, retry_attempts=1),
        ),
        Service("a", "b", traffic_distribution=TrafficDistribution.SAME_ZONE),
        WEB,
        Protocol.HTTP,
        TrafficOverrides(retry_attempts=2, idle_timeout_seconds=2, max_requests=2),
        ServicePolicy(
            TrafficOverrides(idle_timeout_seconds=3, max_requests=3),
            {"web": TrafficOverrides(max_requests=4), "other": TrafficOverrides(max_requests=5)},
        ),
    )
    assert settled.connect_timeout_seconds == 7
    assert settled.locality is Locality.ZONE
    assert settled.request_timeout_seconds == 1
    assert settled.retry_attempts == 2
    assert settled.idle_timeout_seconds == 3
    assert settled.max_requests == 4


def test_opaque_ports_have_no_affinity_to_what_they_cannot_see() -> None:
    by_cookie = TrafficOverrides(session_affinity=SessionAffinity(AffinityKind.COOKIE, "c"))

    def affinity(protocol: Protocol) -> SessionAffinity:
        service = Service("a", "b", client_ip_affinity=True)
        return settle_traffic(Settings(), service, WEB, protocol, by_cookie).session_affinity

    assert affinity(Protocol.HTTP).name == "c"
    assert affinity(Protocol.TCP) == NO_AFFINITY


def test_merging_nothing_says_nothing() -> None:
    assert merge() == merge(NOTHING_SAID, NOTHING_SAID) == NOTHING_SAID


@given(st.sets(st.sampled_from(RetryCondition)).map(tuple))
def test_no_condition_repeats_what_an_endpoint_may_have_seen_for_every_method(
    asked: tuple[RetryCondition, ...],
) -> None:
    assert not set(any_method_conditions(asked)) & {
        RetryCondition.RESET,
        RetryCondition.GATEWAY_ERROR,
        RetryCondition.SERVER_ERROR,
        RetryCondition.CONFLICT,
    }


def test_conditions_for_any_broken_connection_keep_their_harmless_part() -> None:
    assert any_method_conditions((RetryCondition.SERVER_ERROR,)) == UNSEEN_BY_ENDPOINT
    assert any_method_conditions((RetryCondition.CONFLICT,)) == ()


def test_a_value_of_any_length_makes_short_findings_and_few() -> None:
    text = ",".join(f"port-{number}" for number in range(50_000)) + "," + "9" * 100_000
    reader = Reader(On.POD, "shop/web", {}, {registry.EXCLUDE_OUTBOUND_PORTS.name: text})
    reader.read(registry.EXCLUDE_OUTBOUND_PORTS)
    assert len(reader.findings) == MAX_PROBLEMS + 1
    assert reader.findings[-1].message == "49996 more items are not valid"
    reader = Reader(On.POD, "shop/web", {}, {registry.FAIL_MODE.name: "x" * 200_000})
    reader.read(registry.FAIL_MODE)
    (finding,) = reader.findings
    assert len(str(finding)) < 500
    assert finding.message.endswith("is not a value of it")


def test_however_many_names_are_unknown_few_are_told_one_by_one() -> None:
    names = {f"{PREFIX}name-{number:05}": "" for number in range(5_000)}
    findings = Reader(On.SERVICE, "shop/web", {}, names).findings
    assert len(findings) == MAX_PROBLEMS + 1
    assert findings[-1].message == "it and 4994 more after it mean nothing here"
