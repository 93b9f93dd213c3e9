"""What comes of reading one value: the value, or what is wrong with it, or a bit of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Problem(NamedTuple):
    """What is wrong with a value, and what to write instead."""

    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """``value`` is ``None`` where the default has to hold.

    A list with some bad items has both: the good items, and a problem for each bad one.
    """

    value: T | None
    problems: tuple[Problem, ...] = ()


Parser = Callable[[str], Parsed[T]]
"""Total: every text gives a value or a problem."""


def failed(message: str, remedy: str) -> Parsed[T]:
    """No value, one problem."""
    return Parsed(None, (Problem(message, remedy),))
