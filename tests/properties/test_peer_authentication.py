"""Which mode holds where, against an independent statement of it, and what the kernel is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from culvert.compile.peer_authentication import PodModes, peer_modes
from culvert.compile.strict import Holder, strict_entries
from culvert.model.endpoint import Endpoint, EndpointPort, EndpointSlice
from culvert.model.key import ObjectKey
from culvert.model.policy import MtlsMode, PeerAuthentication, TargetRef
from culvert.model.redirect import ANY_PORT, DestinationKey, address16
from culvert.model.workload import Workload
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = "root"
NAMESPACES = ("one", ROOT)
ADDRESSES = {"p": "10.0.0.1", "q": "fd00::1"}
PORTS = (80, 81)

modes = st.sampled_from(MtlsMode)
labels = st.sampled_from([{}, {"app": "a"}, {"app": "b", "tier": "x"}])
pods = st.builds(
    lambda namespace, name, own: Workload(
        namespace, name, name, addresses=(ADDRESSES[name],), labels=own
    ),
    st.sampled_from(["one", "one", ROOT]),
    st.sampled_from(sorted(ADDRESSES)),
    labels,
)
targets = st.lists(
    st.builds(
        TargetRef,
        kind=st.just("Service"),
        name=st.sampled_from(["s", "t"]),
        section_name=st.sampled_from(["", "http", "tcp"]),
    ),
    min_size=1,
    max_size=2,
    unique=True,
).map(tuple)
kinds = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"selector": labels}),
    st.fixed_dictionaries({"targets": targets}),
)


@st.composite
def policy_sets(draw: st.DrawFn) -> dict[ObjectKey, PeerAuthentication]:
    made = {}
    for name in draw(st.permutations("abcdef"))[: draw(st.integers(0, 6))]:
        of_whom = draw(kinds)
        # The schema asks for one of the two, and for no ports of a whole namespace.
        ports = draw(st.dictionaries(st.sampled_from(PORTS), modes)) if of_whom else {}
        policy = PeerAuthentication(
            namespace=draw(st.sampled_from(["one", "one", ROOT])),
            name=name,
            created_seconds=draw(st.integers(0, 2)),
            mode=draw(st.one_of(st.none(), modes) if ports else modes),
            port_modes=ports,
            **of_whom,
        )
        made[policy.key] = policy
    return made


slices = st.lists(
    st.builds(
        lambda namespace, service, ports, names: EndpointSlice(
            namespace,
            service,
            service,
            4,
            tuple(EndpointPort(number, name) for number, name in ports),
            tuple(Endpoint((ADDRESSES[name],)) for name in names),
        ),
        st.sampled_from(NAMESPACES),
        st.sampled_from(["s", "t"]),
        st.lists(st.tuples(st.sampled_from(PORTS), st.sampled_from(["http", "tcp"])), max_size=2),
        st.lists(st.sampled_from(sorted(ADDRESSES)), max_size=2, unique=True),
    ),
    max_size=3,
)


@dataclass(frozen=True, order=True)
class Claim:
    """The more specific, then the older goes first."""

    generality: int
    created_seconds: int
    key: ObjectKey
    mode: MtlsMode


def stated(
    policies: Mapping[ObjectKey, PeerAuthentication],
    pod: Workload,
    parts: Sequence[EndpointSlice],
    port_host: int,
) -> MtlsMode | None:
    """The mode of one port, from all that is said of it."""

    def behind(policy: PeerAuthentication, target: TargetRef) -> list[EndpointSlice]:
        return [
            part
            for part in parts
            if part.service_key == (policy.namespace, target.name)
            and pod.addresses[0] in {a for one in part.endpoints for a in one.addresses}
        ]

    def is_for_pod(policy: PeerAuthentication) -> bool:
        if policy.selector is not None:
            return all(pod.labels.get(name) == value for name, value in policy.selector.items())
        return any(behind(policy, one) for one in policy.targets if not one.section_name)

    own = [one for one in policies.values() if one.namespace == pod.namespace]
    of_pod = [one for one in own if is_for_pod(one)]
    general = [one for one in policies.values() if one.selector is None and not one.targets]

    def oldest(some: list[PeerAuthentication]) -> list[PeerAuthentication]:
        return sorted(some, key=lambda one: (one.created_seconds, one.key))[:1]

    said: list[tuple[int, PeerAuthentication, MtlsMode | None]] = []
    for policy in own:
        for target in policy.targets:
            if target.section_name and any(
                port.name == target.section_name and port.port_host == port_host
                for part in behind(policy, target)
                for port in part.ports
            ):
                said.append((0, policy, policy.port_modes.get(port_host, policy.mode)))
    for policy in oldest(of_pod):
        said.append((0, policy, policy.port_modes.get(port_host)))
        said.append((1, policy, policy.mode))
    said += [(2, one, one.mode) for one in oldest([p for p in general if p in own])]
    said += [(3, one, one.mode) for one in oldest([p for p in general if p.namespace == ROOT])]
    claims = [
        Claim(generality, policy.created_seconds, policy.key, mode)
        for generality, policy, mode in said
        if mode is not None
    ]
    return min(claims).mode if claims else None


@settings(max_examples=400)
@given(policy_sets(), pods, slices)
def test_most_specific_then_oldest_policy_is_in_force(
    policies: dict[ObjectKey, PeerAuthentication], pod: Workload, parts: list[EndpointSlice]
) -> None:
    found = peer_modes(policies, [pod], parts, ROOT).pods[pod.key]
    for port_host in (*PORTS, 82):
        assert found.of(port_host) is stated(policies, pod, parts, port_host)


@given(policy_sets(), st.lists(pods, max_size=3), slices, st.randoms())
def test_order_of_what_is_given_does_not_show(
    policies: dict[ObjectKey, PeerAuthentication],
    some: list[Workload],
    parts: list[EndpointSlice],
    random: Random,
) -> None:
    some = list({pod.key: pod for pod in some}.values())
    shuffled = [list(policies.items()), list(some), list(parts)]
    for one in shuffled:
        random.shuffle(one)
    turned = peer_modes(dict(shuffled[0]), shuffled[1], shuffled[2], ROOT)
    assert turned == peer_modes(policies, some, parts, ROOT)


@given(policy_sets(), pods, slices)
def test_policies_without_a_say_can_be_taken_away(
    policies: dict[ObjectKey, PeerAuthentication], pod: Workload, parts: list[EndpointSlice]
) -> None:
    found = peer_modes(policies, [pod], parts, ROOT)
    left = {key: policy for key, policy in policies.items() if key in found.in_force}
    without = peer_modes(left, [pod], parts, ROOT).pods[pod.key]
    ports = (*PORTS, 82)
    assert [without.of(port) for port in ports] == [found.pods[pod.key].of(port) for port in ports]


holders = st.dictionaries(
    st.sampled_from([address16(f"10.0.0.{number}") for number in range(4)]),
    st.lists(
        st.builds(
            Holder,
            st.builds(PodModes, modes, st.dictionaries(st.sampled_from(PORTS), modes)),
            st.frozensets(st.sampled_from(PORTS)),
        ),
        min_size=1,
        max_size=2,
    ),
    min_size=2,
)


def in_map(entries: Mapping[DestinationKey, bool], key: DestinationKey) -> bool:
    """What the kernel finds."""
    return entries.get(key, entries.get(DestinationKey(key.address, ANY_PORT), False))


@given(holders)
def test_kernel_finds_a_port_strict_exactly_if_it_is_for_a_pod_at_the_address(
    of_address: dict[bytes, list[Holder]],
) -> None:
    entries, findings = strict_entries(of_address, 1000)
    assert findings == []
    for address, some in of_address.items():
        for port_host in (*PORTS, 82):
            expected = any(one.is_strict(port_host) for one in some)
            assert in_map(entries, DestinationKey(address, port_host)) == expected
        has_port = any(key.address == address for key in entries)
        assert has_port == (DestinationKey(address, ANY_PORT) in entries)


@settings(max_examples=400)
@given(holders, st.integers(4, 9))
def test_where_room_is_short_no_strict_port_takes_plain_text(
    of_address: dict[bytes, list[Holder]], most: int
) -> None:
    whole, _ = strict_entries(of_address, 1000)
    entries, findings = strict_entries(of_address, most)
    assert len(entries) <= most
    assert bool(findings) == (entries != whole)
    for address in of_address:
        for port_host in (*PORTS, 82):
            key = DestinationKey(address, port_host)
            assert in_map(entries, key) or not in_map(whole, key)
