"""Addresses to serve HTTP on, as options have them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

import typer


class HttpAddress(NamedTuple):
    """Where to listen; the port is in host order."""

    address: str
    port_host: int


def parse_http_address(text: str | HttpAddress) -> HttpAddress:
    """Read ``127.0.0.1:8080`` or ``[::1]:8080``; without an address, loopback.

    Typer gives it an option's default, too, which is an address already.

    Raises:
        typer.BadParameter: it is something else.
    """
    if isinstance(text, HttpAddress):
        return text
    address, _, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]") or "127.0.0.1"
    try:
        ip_address(address)
        port_host = int(port)
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is not an address and a port, such as 127.0.0.1:8080"
        ) from None
    if not 0 < port_host < 65536:
        raise typer.BadParameter(f"{port_host} is not a port: use 1 to 65535")
    return HttpAddress(address, port_host)
