"""Boolean expressions over a connection, and their form as Envoy's matchers; pure.

``True`` and ``False`` are expressions too: what the matchers cannot say is worked out beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from xds.type.matcher.v3.matcher_pb2 import Matcher

Predicate = Matcher.MatcherList.Predicate


@dataclass(frozen=True, slots=True)
class Test:
    """One look at the connection."""

    __test__ = False

    predicate: Message


@dataclass(frozen=True, slots=True)
class All:
    """Two or more parts, all of which must hold."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """Two or more parts, one of which must hold."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class No:
    """What must not hold."""

    part: Expression


Expression = bool | Test | All | Some | No


def all_of(parts: Iterable[Expression]) -> Expression:
    """Holds where every part does; of nothing, always."""
    kept = [part for part in parts if part is not True]
    if any(part is False for part in kept):
        return False
    if not kept:
        return True
    return kept[0] if len(kept) == 1 else All(tuple(kept))


def some_of(parts: Iterable[Expression]) -> Expression:
    """Holds where a part does; of nothing, never."""
    kept = [part for part in parts if part is not False]
    if any(part is True for part in kept):
        return True
    if not kept:
        return False
    return kept[0] if len(kept) == 1 else Some(tuple(kept))


def negated(part: Expression) -> Expression:
    """Holds where the part does not."""
    return not part if isinstance(part, bool) else No(part)


def as_predicate(expression: Test | All | Some | No) -> Any:
    """The matcher that says the same, a ``Predicate``."""
    match expression:
        case Test(predicate):
            return Predicate(single_predicate=predicate)
        case All(parts):
            return Predicate(and_matcher=_list(parts))
        case Some(parts):
            return Predicate(or_matcher=_list(parts))
        case No(part):
            assert not isinstance(part, bool)
            return Predicate(not_matcher=as_predicate(part))


def _list(parts: Iterable[Expression]) -> Any:
    return Predicate.PredicateList(
        predicate=[as_predicate(part) for part in parts if not isinstance(part, bool)]
    )
