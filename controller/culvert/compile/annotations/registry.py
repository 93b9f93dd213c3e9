"""Every label and annotation of the mesh, once: name, where it goes, grammar, default, effect.

``docs/annotate.md`` has its table from here. A name that is not here is reported on the object.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from culvert.compile.annotations import grammar
from culvert.compile.annotations.parsed import Parser
from culvert.compile.annotations.traffic_values import port_protocols, session_affinity
from culvert.model.traffic import AccessLog, LoadBalancer, Locality, RetryCondition

T = TypeVar("T")

PREFIX = "culvert.dev/"


class Kind(StrEnum):
    """Where in an object's metadata it goes."""

    LABEL = "label"
    ANNOTATION = "annotation"


class On(StrEnum):
    """Kinds of objects."""

    NAMESPACE = "Namespace"
    POD = "Pod"
    SERVICE = "Service"


@dataclass(frozen=True, slots=True)
class Annotation(Generic[T]):
    """One label or annotation, and how to read it.

    ``grammar``, ``default`` and ``effect`` are Markdown for a cell of the table.
    """

    name: str
    objects: tuple[On, ...]
    grammar: str
    default: str
    effect: str
    parse: Parser[T]
    kind: Kind = Kind.ANNOTATION


_ENABLED = grammar.one_of({"enabled": True, "disabled": False})
_LIMIT = grammar.duration_seconds(zero=True)


def _words(choices: type[StrEnum]) -> str:
    return ", ".join(f"`{choice}`" for choice in choices)


MESH = Annotation(
    PREFIX + "mesh",
    (On.NAMESPACE, On.POD, On.SERVICE),
    "`enabled`, `disabled`",
    "see below",
    "Who takes part in the mesh.",
    _ENABLED,
    Kind.LABEL,
)
FAIL_MODE = Annotation(
    PREFIX + "fail-mode",
    (On.POD, On.SERVICE),
    "`open`, `closed`",
    "`closed`",
    "What a connection does while no proxy listens: go directly, or fail.",
    grammar.one_of({"open": True, "closed": False}),
)
ACCELERATION = Annotation(
    PREFIX + "acceleration",
    (On.POD,),
    "`enabled`, `disabled`",
    "`enabled` where the kernel passed the self-test",
    "Whether bytes go from socket to socket on the node.",
    _ENABLED,
)
EXCLUDE_OUTBOUND_PORTS = Annotation(
    PREFIX + "exclude-outbound-ports",
    (On.POD,),
    "list of ports",
    "none",
    "Connections of the pod to these ports are left alone.",
    grammar.ports,
)
EXCLUDE_INBOUND_PORTS = Annotation(
    PREFIX + "exclude-inbound-ports",
    (On.POD,),
    "list of ports",
    "none",
    "Connections to the pod's address at these ports are left alone.",
    grammar.ports,
)
EXCLUDE_OUTBOUND_CIDRS = Annotation(
    PREFIX + "exclude-outbound-cidrs",
    (On.POD,),
    "list of CIDRs",
    "none",
    "Connections of the pod to these addresses are left alone.",
    grammar.cidrs,
)
PROTOCOL = Annotation(
    PREFIX + "protocol",
    (On.SERVICE,),
    "list of protocols",
    "`appProtocol`, then the port's name",
    "What ports speak, whatever their `appProtocol` and name say.",
    port_protocols,
)
REQUEST_TIMEOUT = Annotation(
    PREFIX + "request-timeout",
    (On.SERVICE,),
    "duration or `0`",
    "`0`: no limit",
    "HTTP: the longest time from the end of a request to the end of its response, with retries.",
    _LIMIT,
)
IDLE_TIMEOUT = Annotation(
    PREFIX + "idle-timeout",
    (On.SERVICE,),
    "duration or `0`",
    "`0`: no limit",
    "HTTP: the longest pause in a request or response.",
    _LIMIT,
)
CONNECT_TIMEOUT = Annotation(
    PREFIX + "connect-timeout",
    (On.SERVICE,),
    "duration",
    "`5s`",
    "The longest time to connect to an endpoint.",
    grammar.duration_seconds(zero=False),
)
RETRIES = Annotation(
    PREFIX + "retries",
    (On.SERVICE,),
    "`0` … `10`",
    "`2`",
    "HTTP: how often a failed request is sent again.",
    grammar.whole_number(0, 10),
)
RETRY_ON = Annotation(
    PREFIX + "retry-on",
    (On.SERVICE,),
    "list of conditions",
    "`connect-failure,refused-stream,reset-before-request`",
    "HTTP: which failures are worth another attempt.",
    grammar.members_of(RetryCondition),
)
PER_TRY_TIMEOUT = Annotation(
    PREFIX + "per-try-timeout",
    (On.SERVICE,),
    "duration or `0`",
    "`0`: no limit",
    "HTTP: the longest time of one attempt.",
    _LIMIT,
)
LOAD_BALANCING = Annotation(
    PREFIX + "load-balancing",
    (On.SERVICE,),
    _words(LoadBalancer),
    f"`{LoadBalancer.LEAST_REQUEST}`",
    "How an endpoint is picked, where there is no session affinity.",
    grammar.member_of(LoadBalancer),
)
LOCALITY = Annotation(
    PREFIX + "locality",
    (On.SERVICE,),
    _words(Locality),
    "`spec.trafficDistribution`",
    "Which endpoints are used for as long as there are any: all, those of the client's zone, "
    "those of its node.",
    grammar.member_of(Locality),
)
SESSION_AFFINITY = Annotation(
    PREFIX + "session-affinity",
    (On.SERVICE,),
    "`none`, `client-ip`, `cookie=`name, `header=`name",
    "`spec.sessionAffinity`",
    "What requests must have in common to reach the same endpoint.",
    session_affinity,
)
ACCESS_LOG = Annotation(
    PREFIX + "access-log",
    (On.SERVICE,),
    _words(AccessLog),
    f"`{AccessLog.OFF}`",
    "Which requests (HTTP) and connections (TCP) the proxy logs.",
    grammar.member_of(AccessLog),
)

ANNOTATIONS: tuple[Annotation[Any], ...] = (
    MESH,
    FAIL_MODE,
    ACCELERATION,
    EXCLUDE_OUTBOUND_PORTS,
    EXCLUDE_INBOUND_PORTS,
    EXCLUDE_OUTBOUND_CIDRS,
    PROTOCOL,
    REQUEST_TIMEOUT,
    IDLE_TIMEOUT,
    CONNECT_TIMEOUT,
    RETRIES,
    RETRY_ON,
    PER_TRY_TIMEOUT,
    LOAD_BALANCING,
    LOCALITY,
    SESSION_AFFINITY,
    ACCESS_LOG,
)
HTTP_ONLY = (REQUEST_TIMEOUT, IDLE_TIMEOUT, RETRIES, RETRY_ON, PER_TRY_TIMEOUT)
"""They do nothing for opaque ports."""
TRAFFIC = (*HTTP_ONLY, CONNECT_TIMEOUT, LOAD_BALANCING, LOCALITY, SESSION_AFFINITY, ACCESS_LOG)
"""They need a virtual address: connections to an endpoint's own address know no Service."""


def known_names(on: On, kind: Kind) -> tuple[str, ...]:
    """The names that mean something on a kind of object."""
    return tuple(one.name for one in ANNOTATIONS if on in one.objects and one.kind is kind)


def homes_of(name: str, kind: Kind) -> tuple[On, ...]:
    """The kinds of objects on which a name means something; empty for an unknown one."""
    return next((one.objects for one in ANNOTATIONS if one.name == name and one.kind is kind), ())
