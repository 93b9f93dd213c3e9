"""Where the kernel of one node refuses plain text, and what became of PeerAuthentications; pure.

It is refused where a PeerAuthentication says STRICT. Where none says anything it is refused as well
if AuthorizationPolicies may refuse who comes that way: nobody could ask them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from culvert.compile.authorization.assignment import Assigned
from culvert.compile.authorization.strangers import OPEN, Closed, closed_to_strangers
from culvert.compile.peer_authentication import PodModes, peer_modes
from culvert.compile.peer_outcomes import (
    attach_peer_authentications,
    is_accepted,
    not_enforced,
    peer_outcome,
)
from culvert.compile.pod_table import PodTable
from culvert.model.codes import MAP_FULL
from culvert.model.finding import Finding
from culvert.model.key import ObjectKey
from culvert.model.outcome import ObjectOutcome
from culvert.model.policy import MtlsMode
from culvert.model.redirect import (
    ANY_POD,
    ANY_PORT,
    STRICT_ENTRIES_MAX,
    Address16,
    DestinationKey,
    ProxyListener,
)
from culvert.model.world import World

Strict = dict[DestinationKey, bool]


@dataclass(frozen=True, slots=True)
class StrictPart:
    """``entries`` are ``RedirectTable.strict`` and ``pods`` its ``strict_pods``.

    Nothing is strict in a mesh without identities.
    """

    entries: Strict = field(default_factory=dict)
    pods: dict[int, bool] = field(default_factory=dict)
    outcomes: tuple[ObjectOutcome, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Holder:
    """A pod at an address. Connections to ``excluded_ports`` are not the mesh's business.

    ``closed`` is where policies may refuse who comes past the mesh.
    """

    modes: PodModes
    excluded_ports: Collection[int] = ()
    closed: Closed = OPEN

    @property
    def ports(self) -> set[int]:
        """Those of which anything of their own is known."""
        return {*self.modes.ports, *self.closed.ports, *self.excluded_ports}

    @property
    def whole(self) -> bool:
        """Whether all others take mutual TLS only."""
        return _refuses(self.modes.whole, self.closed.whole)

    def is_strict(self, port_host: int) -> bool:
        """Whether a port takes mutual TLS only."""
        return port_host not in self.excluded_ports and _refuses(
            self.modes.of(port_host), self.closed.at(port_host)
        )

    @property
    def is_strict_anywhere(self) -> bool:
        """Whether any port does."""
        return self.whole or any(map(self.is_strict, self.ports))


def _refuses(mode: MtlsMode | None, is_closed: bool) -> bool:
    return is_closed if mode is None else mode is MtlsMode.STRICT


def compile_strict(world: World, pods: PodTable, assigned: Assigned) -> StrictPart:
    """The part of one node; ``world`` has the settings in force.

    ``assigned`` are the policies that are for this node's pods. While other nodes do not ask for
    mutual TLS yet (``accept_only``), they come past the mesh themselves.
    """
    policies = world.peer_authentications
    if not policies and not any(assigned.values()):
        return StrictPart()
    attachments = attach_peer_authentications(policies, world.services)
    findings = [finding for one in attachments.values() for finding in one.findings]
    if not world.settings.identity:
        return StrictPart(
            outcomes=tuple(
                peer_outcome(policy, attachments[key], enforced=False, needed=False)
                for key, policy in sorted(policies.items())
            ),
            findings=(*findings, *map(not_enforced, policies.values())),
        )
    in_mesh = pods.in_mesh()
    modes = peer_modes(
        {key: policy for key, policy in policies.items() if is_accepted(attachments[key])},
        [world.workloads[key] for key, _ in in_mesh],
        world.endpoint_slices.values(),
        world.settings.root_namespace,
    )
    by_pod: dict[ObjectKey, Holder] = {}
    holders: dict[Address16, list[Holder]] = {}
    for key, part in in_mesh:
        excluded = {
            destination.port_host
            for destination, to in part.destinations
            if to.listener is ProxyListener.DIRECT
        }
        judging = () if world.settings.accept_only else assigned.get(key, ())
        holder = by_pod[key] = Holder(modes.pods[key], excluded, closed_to_strangers(judging))
        for address in part.addresses:
            holders.setdefault(address, []).append(holder)
    entries, too_many = strict_entries(holders, STRICT_ENTRIES_MAX)
    outcomes = tuple(
        peer_outcome(policy, attachments[key], enforced=True, needed=key in modes.in_force)
        for key, policy in sorted(policies.items())
    )
    return StrictPart(
        entries,
        _strict_pods(pods, by_pod, of_unknown=modes.mesh is MtlsMode.STRICT),
        outcomes,
        (*findings, *modes.findings, *too_many),
    )


def _strict_pods(
    pods: PodTable, holders: Mapping[ObjectKey, Holder], *, of_unknown: bool
) -> dict[int, bool]:
    """Every pod of the node by its cgroup; those outside the mesh take whatever comes."""
    strict = {
        part.cgroup_id: key in holders and holders[key].is_strict_anywhere
        for key, part in pods.of_this_node()
        if part.cgroup_id
    }
    strict[ANY_POD] = of_unknown
    return strict if any(strict.values()) else {}


def strict_entries(
    holders: Mapping[Address16, Iterable[Holder]], most: int
) -> tuple[Strict, list[Finding]]:
    """The entries of a node: at every address and port the most specific says what holds.

    Of an address that several pods hold, a port is strict if it is for one of them. A pod with a
    strict port has an entry for ``ANY_PORT``. Where there are more than ``most``, pods lose their
    entries for ports, the last by address first: these are strict at every port if at any.
    """
    by_address = {
        address: entries
        for address, of_address in sorted(holders.items())
        if (entries := _entries(address, list(of_address)))
    }
    left = sum(len(entries) for entries in by_address.values())
    without_ports = 0
    for address, entries in reversed(by_address.items()):
        if left <= most:
            break
        if len(entries) > 1:
            left -= len(entries) - 1
            without_ports += 1
            by_address[address] = {DestinationKey(address, ANY_PORT): True}
    findings = [_too_many(without_ports, most)] if without_ports else []
    return {key: value for one in by_address.values() for key, value in one.items()}, findings


def _entries(address: Address16, holders: list[Holder]) -> Strict:
    whole = any(one.whole for one in holders)
    ports = {port for one in holders for port in one.ports}
    differing = {
        DestinationKey(address, port): not whole
        for port in sorted(ports)
        if any(one.is_strict(port) for one in holders) != whole
    }
    if not whole and not differing:
        return {}
    return {DestinationKey(address, ANY_PORT): whole, **differing}


def _too_many(pods: int, most: int) -> Finding:
    return Finding(
        MAP_FULL.id,
        "map cv_strict",
        "",
        f"the ports of {pods} addresses do not fit into {most} entries; "
        "every port there takes mutual TLS only",
        "name fewer ports in portLevelMtls",
    )
