"""Single values of ``culvert.dev`` objects: durations, quantities, choices, numbers.

Every function takes the field's path for the error it may raise, and maps ``None`` to ``None``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from ipaddress import ip_network
from typing import TypeVar

from culvert.model.duration import DURATION_EXAMPLES, parse_duration_seconds
from culvert.model.identity import is_trust_domain
from culvert.sources.decode.error import DecodeError

T = TypeVar("T")

_QUANTITY = re.compile(r"([1-9][0-9]{0,9})(Ki|Mi|Gi)?")
_BYTES = {None: 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def seconds(text: str | None, field: str, *, zero: bool = True) -> float | None:
    """A duration of GEP-2257, or ``0``; it must be longer than that unless ``zero``."""
    if text is None:
        return None
    try:
        value = parse_duration_seconds(text)
    except ValueError:
        raise DecodeError(
            field, f"'{text}' is not a duration", f"write it as {DURATION_EXAMPLES}"
        ) from None
    if not zero and not value:
        raise DecodeError(field, "must be longer than 0", f"write it as {DURATION_EXAMPLES}")
    return value


def choice(text: str | None, field: str, choices: Mapping[str, T]) -> T | None:
    """The meaning of a word that may be absent."""
    return None if text is None else meaning(text, field, choices)


def meaning(text: str, field: str, choices: Mapping[str, T]) -> T:
    """The meaning of a word."""
    if text not in choices:
        raise DecodeError(
            field, f"'{text}' is not a value of it", f"use one of {', '.join(choices)}"
        )
    return choices[text]


def number(value: int | None, field: str, least: int, most: int) -> int | None:
    """An integer from ``least`` to ``most``, both included."""
    if value is not None and not least <= value <= most:
        raise DecodeError(field, f"{value} is out of range", f"use a number from {least} to {most}")
    return value


def quantity_bytes(text: str | None, field: str, least: str, most: str) -> int | None:
    """A number of bytes such as ``512Ki``, from ``least`` to ``most``."""
    if text is None:
        return None
    value = _quantity_bytes(text)
    if value is None:
        raise DecodeError(field, f"'{text}' is not a number of bytes", "write it as 512Ki or 4Mi")
    if not (_quantity_bytes(least) or 0) <= value <= (_quantity_bytes(most) or 0):
        raise DecodeError(field, f"'{text}' is out of range", f"use {least} to {most}")
    return value


def trust_domain(text: str | None, field: str) -> str | None:
    """The name of a SPIFFE trust domain."""
    if text is not None and not is_trust_domain(text):
        raise DecodeError(
            field,
            f"'{text}' is not a trust domain",
            "use a domain of lower-case letters, digits, hyphens and dots",
        )
    return text


def cidrs(texts: Iterable[str], field: str) -> tuple[str, ...]:
    """Networks in canonical form; bits beyond the prefix are dropped."""
    found = []
    for index, text in enumerate(texts):
        try:
            found.append(str(ip_network(text, strict=False)))
        except ValueError:
            raise DecodeError(
                f"{field}[{index}]",
                f"'{text}' is not an address or a CIDR",
                "write one such as 10.0.0.0/8 or fd00::1",
            ) from None
    return tuple(found)


def unix_seconds(text: str | None, field: str) -> int:
    """A time of RFC 3339 as whole seconds since 1970; 0 where there is none."""
    if text is None:
        return 0
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        raise DecodeError(
            field, f"'{text}' is not a time", "write it as 2026-01-31T12:00:00Z"
        ) from None


def _quantity_bytes(text: str) -> int | None:
    match = _QUANTITY.fullmatch(text)
    return int(match[1]) * _BYTES[match[2]] if match else None
