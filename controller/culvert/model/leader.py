"""What the controller that leads publishes for agents: where it is, and what to trust of it.

It is the data of a ConfigMap that the controller alone may write. A leader of a version that
publishes no address, or that knows none of its own, is reached by the controller's Service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Self

Address = tuple[str, int]
"""An IP address and a port in host order."""

CERTIFICATE_KEY = "ca.crt"
ADDRESS_KEY = "address"
KEYS = (CERTIFICATE_KEY, ADDRESS_KEY)


@dataclass(frozen=True, slots=True)
class LeaderEntry:
    """``certificate`` is PEM; ``address`` is None where agents are to go by the Service."""

    certificate: str
    address: Address | None = None

    @classmethod
    def of(cls, certificate: str, listening: Address) -> Self:
        """The entry of a leader that listens there; every address (``0.0.0.0``) names none."""
        return cls(certificate, None if ip_address(listening[0]).is_unspecified else listening)

    @classmethod
    def read(cls, data: Mapping[str, str]) -> Self:
        """Read what was published; further keys are ignored.

        Raises:
            ValueError: there is no certificate, or the address is none.
        """
        certificate = data.get(CERTIFICATE_KEY)
        if not certificate:
            raise ValueError(f"there is no {CERTIFICATE_KEY}")
        text = data.get(ADDRESS_KEY)
        return cls(certificate, _read_address(text) if text else None)

    def data(self) -> dict[str, str]:
        """As it is published."""
        found = {CERTIFICATE_KEY: self.certificate}
        if self.address is not None:
            found[ADDRESS_KEY] = authority(self.address)
        return found


def authority(address: Address) -> str:
    """``10.1.2.3:15443`` or ``[fd00::3]:15443``, as in a URL."""
    host, port_host = address
    return f"[{host}]:{port_host}" if ":" in host else f"{host}:{port_host}"


def leader_config_map(service: str) -> str:
    """Name of the ConfigMap with the entry of the leader of a controller's Service."""
    return f"{service}-ca"


def _read_address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    ip = ip_address(host.removeprefix("[").removesuffix("]"))
    address = str(ip), int(port)
    if not 0 < address[1] < 65536 or host.startswith("[") is not isinstance(ip, IPv6Address):
        raise ValueError(f"'{text}' is not an address and a port")
    return address
