"""What a decision is made on: a connection, and the request on it where there is HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_IDENTITY = re.compile(r"[^/]+/ns/([^/]+)/sa/[^/]+")


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection as it arrives at a pod.

    ``principal`` is the proven identity of the client without ``spiffe://``, empty where there is
    none. Addresses are in canonical text form; ``destination_port_host`` is the pod's port.
    """

    source_address: str
    destination_address: str
    destination_port_host: int
    principal: str = ""
    sni: str = ""

    @property
    def namespace(self) -> str:
        """The client's namespace by its identity; empty where that says none."""
        match = _IDENTITY.fullmatch(self.principal)
        return match[1] if match else ""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request. ``path`` may have a query, ``host`` a port; names of headers are in lower case.

    ``token_*`` are of a verified JSON Web Token; empty where there is none. A claim inside others
    is under all their names.
    """

    method: str = "GET"
    host: str = ""
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)
    token_principal: str = ""
    token_audiences: tuple[str, ...] = ()
    token_claims: Mapping[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
