"""The grammars of values. Each function gives a parser that answers every text.

The grammars themselves are written down in ``docs/annotate.md``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from ipaddress import ip_network
from typing import TypeVar

from culvert.compile.annotations.parsed import Parsed, Parser, Problem, failed
from culvert.model.duration import DURATION_EXAMPLES, parse_duration_seconds
from culvert.model.redirect import Address16, address16

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

# RFC 9110, section 5.6.2: names of header fields, and of cookies by RFC 6265.
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")


def items(text: str) -> Iterable[str]:
    """The items of a comma-separated list, without spaces around them; empty ones are left out."""
    return filter(None, (item.strip() for item in text.split(",")))


def is_port(text: str) -> bool:
    """Whether it is a port number, in decimal."""
    return is_decimal(text) and len(text) <= 5 and 0 < int(text) < 65536


def is_decimal(text: str) -> bool:
    """Whether it consists of the digits 0 to 9."""
    return text.isascii() and text.isdigit()


def one_of(choices: Mapping[str, T]) -> Parser[T]:
    """One word of several."""

    def parse(text: str) -> Parsed[T]:
        if text in choices:
            return Parsed(choices[text])
        return failed(f"'{text}' is not a value of it", f"write {_alternatives(choices)}")

    return parse


def member_of(choices: type[E]) -> Parser[E]:
    """One member of an enumeration, by its value."""
    return one_of({str(member): member for member in choices})


def whole_number(least: int, most: int) -> Parser[int]:
    """A whole number in decimal, both ends allowed."""

    def parse(text: str) -> Parsed[int]:
        if is_decimal(text) and len(text) <= len(str(most)) and least <= int(text) <= most:
            return Parsed(int(text))
        return failed(
            f"'{text}' is not a number from {least} to {most}",
            f"write a whole number from {least} to {most}",
        )

    return parse


def duration_seconds(*, zero: bool) -> Parser[float]:
    """A duration (GEP-2257); ``zero`` says whether 0, no limit, is one."""

    def parse(text: str) -> Parsed[float]:
        remedy = f"write a duration such as {DURATION_EXAMPLES}"
        try:
            seconds = parse_duration_seconds(text)
        except ValueError as error:
            return failed(str(error), f"{remedy}, or 0 for no limit" if zero else remedy)
        if not zero and seconds == 0:
            return failed("it must be longer than 0", remedy)
        return Parsed(seconds)

    return parse


def ports(text: str) -> Parsed[frozenset[int]]:
    """A list of port numbers."""
    return _list(
        text,
        lambda item: int(item) if is_port(item) else None,
        "is not a port",
        "write port numbers from 1 to 65535, separated by commas",
    )


def cidrs(text: str) -> Parsed[frozenset[tuple[Address16, int]]]:
    """A list of addresses and CIDRs: (network address, prefix length of its 128-bit form)."""
    return _list(
        text,
        _network,
        "is not an address or CIDR",
        "write addresses or CIDRs such as 10.0.0.0/8, separated by commas",
    )


def members_of(choices: type[E]) -> Parser[tuple[E, ...]]:
    """A list of members of an enumeration; in the enumeration's order, each once.

    A list without a single valid item has no value.
    """
    by_text = {str(member): member for member in choices}

    def parse(text: str) -> Parsed[tuple[E, ...]]:
        read = _list(text, by_text.get, "is not known", f"write some of {', '.join(by_text)}")
        found = tuple(member for member in choices if member in (read.value or ()))
        if not found and not read.problems:
            return failed("it is empty", f"write some of {', '.join(by_text)}")
        return Parsed(found or None, read.problems)

    return parse


def _list(
    text: str, item_value: Callable[[str], T | None], message: str, remedy: str
) -> Parsed[frozenset[T]]:
    values = set()
    problems = []
    for item in items(text):
        value = item_value(item)
        if value is None:
            problems.append(Problem(f"'{item}' {message}", remedy))
        else:
            values.add(value)
    return Parsed(frozenset(values), tuple(problems))


def _network(text: str) -> tuple[Address16, int] | None:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    mapped_bits = 96 if network.version == 4 else 0
    return address16(str(network.network_address)), mapped_bits + network.prefixlen


def _alternatives(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
