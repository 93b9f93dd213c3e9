"""Values that are about a Service's traffic: protocols of ports, session affinity."""

from __future__ import annotations

from collections.abc import Mapping

from culvert.compile.annotations.grammar import TOKEN, is_decimal, is_port, items
from culvert.compile.annotations.parsed import Parsed, Problem, failed
from culvert.compile.protocol import Protocol
from culvert.model.traffic import AffinityKind, SessionAffinity

PROTOCOLS = {
    "http": Protocol.HTTP,
    "h2c": Protocol.HTTP2,
    "grpc": Protocol.HTTP2,
    "tcp": Protocol.TCP,
}

_AFFINITY_REMEDY = "write none, client-ip, cookie=<name> or header=<name>"


def port_protocols(text: str) -> Parsed[Mapping[str, Protocol]]:
    """A list of ``<port>=<protocol>``; a port is a number or the name of a Service port."""
    found: dict[str, Protocol] = {}
    problems = []
    for item in items(text):
        port, separator, protocol = (part.strip() for part in item.partition("="))
        if not separator or not port or (is_decimal(port) and not is_port(port)):
            problems.append(
                Problem(
                    f"'{item}' is not a port and a protocol",
                    "write items such as 80=http or grpc=h2c, separated by commas",
                )
            )
        elif protocol not in PROTOCOLS:
            problems.append(
                Problem(f"'{protocol}' is not a protocol", f"write {', '.join(PROTOCOLS)}")
            )
        elif port in found:
            problems.append(Problem(f"port {port} is named before", "name each port once"))
        else:
            found[port] = PROTOCOLS[protocol]
    return Parsed(found, tuple(problems))


def session_affinity(text: str) -> Parsed[SessionAffinity]:
    """``none``, ``client-ip``, ``cookie=<name>`` or ``header=<name>``."""
    kind, separator, name = (part.strip() for part in text.partition("="))
    if not separator:
        if kind in (AffinityKind.NONE, AffinityKind.CLIENT_IP):
            return Parsed(SessionAffinity(AffinityKind(kind)))
    elif kind in (AffinityKind.COOKIE, AffinityKind.HEADER):
        if TOKEN.fullmatch(name):
            return Parsed(SessionAffinity(AffinityKind(kind), name))
        return failed(
            f"'{name}' is not the name of a {kind}",
            "write a name of letters, digits and hyphens",
        )
    return failed(f"'{text}' is not a value of it", _AFFINITY_REMEDY)
