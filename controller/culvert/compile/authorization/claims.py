"""Conditions on a request's token, as rules on what a verified one left in its metadata; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from envoy.config.rbac.v3.rbac_pb2 import Permission
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ListMatcher, OrMatcher, ValueMatcher

from culvert.compile.tokens import METADATA, PAYLOAD

CLAIM = re.compile(r"request\.auth\.claims\[(.+)\]")
_PRESENT = StringMatcher(safe_regex=RegexMatcher(regex="(?s).+"))


def token_test(key: str, issuers: Sequence[str]) -> Callable[[str], Permission]:
    """The rule for a pattern of an attribute ``request.auth.…``; it never holds without issuers."""
    if key == "request.auth.principal":
        return lambda pattern: _principal(pattern, issuers)
    found = CLAIM.fullmatch(key)
    path = found[1].split("][") if found else ["aud"]
    return lambda pattern: _claim(path, fitting(pattern)) if issuers else _never()


def fitting(pattern: str) -> StringMatcher:
    """What is there and fits a pattern. Comparing is many times faster than a regex."""
    if pattern == "*":
        return _PRESENT
    if pattern.endswith("*"):
        return StringMatcher(prefix=pattern[:-1])
    if pattern.startswith("*"):
        return StringMatcher(suffix=pattern[1:])
    return StringMatcher(exact=pattern)


def _principal(pattern: str, issuers: Iterable[str]) -> Permission:
    """``issuer/subject`` fits; the two are claims of their own, and all issuers are known."""
    rules = []
    for issuer in issuers:
        subjects = list(_subjects(pattern, f"{issuer}/"))
        if subjects:
            is_issuer = _claim(["iss"], StringMatcher(exact=issuer))
            fits = Permission(
                or_rules=Permission.Set(rules=[_claim(["sub"], one) for one in subjects])
            )
            rules.append(Permission(and_rules=Permission.Set(rules=[is_issuer, fits])))
    return Permission(or_rules=Permission.Set(rules=rules)) if rules else _never()


def _subjects(pattern: str, head: str) -> Iterable[StringMatcher]:
    """What the subject must be for ``head`` and it to fit the pattern; any of them."""
    if pattern == "*":
        yield _PRESENT
    elif pattern.endswith("*"):
        start = pattern[:-1]
        if head.startswith(start):
            yield _PRESENT
        elif start.startswith(head):
            yield StringMatcher(prefix=start.removeprefix(head))
    elif pattern.startswith("*"):
        end = pattern[1:]
        yield StringMatcher(suffix=end)
        for length in range(1, len(end)):
            if head.endswith(end[:length]):
                yield StringMatcher(exact=end[length:])
    elif pattern.startswith(head) and pattern != head:
        yield StringMatcher(exact=pattern.removeprefix(head))


def _claim(path: Iterable[str], value: StringMatcher) -> Permission:
    """A claim that is this text, or a list that has it."""
    text = ValueMatcher(string_match=value)
    in_list = ValueMatcher(list_match=ListMatcher(one_of=text))
    segments = [MetadataMatcher.PathSegment(key=key) for key in (PAYLOAD, *path)]
    either = ValueMatcher(or_match=OrMatcher(value_matchers=[text, in_list]))
    return Permission(metadata=MetadataMatcher(filter=METADATA, path=segments, value=either))


def _never() -> Permission:
    return Permission(not_rule=Permission(any=True))
