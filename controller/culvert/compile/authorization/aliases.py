"""Trust domains that count as one: principals of policies under each of their names; pure.

After a renaming, certificates and policies of the old and of the new domain meet for a while.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from culvert.model.policy import AuthorizationPolicy, Condition, Rule, Source


def with_aliases(policy: AuthorizationPolicy, domains: Sequence[str]) -> AuthorizationPolicy:
    """The policy with each principal of one of the domains under all of them.

    The very same object where there is one domain only.
    """
    if len(domains) < 2:
        return policy
    rules = tuple(_rule(rule, domains) for rule in policy.rules)
    return msgspec.structs.replace(policy, rules=rules)


def _rule(rule: Rule, domains: Sequence[str]) -> Rule:
    return msgspec.structs.replace(
        rule,
        sources=tuple(_source(one, domains) for one in rule.sources),
        conditions=tuple(_condition(one, domains) for one in rule.conditions),
    )


def _source(source: Source, domains: Sequence[str]) -> Source:
    return msgspec.structs.replace(
        source,
        principals=_under_all(source.principals, domains),
        not_principals=_under_all(source.not_principals, domains),
    )


def _condition(condition: Condition, domains: Sequence[str]) -> Condition:
    if condition.key != "source.principal":
        return condition
    return msgspec.structs.replace(
        condition,
        values=_under_all(condition.values, domains),
        not_values=_under_all(condition.not_values, domains),
    )


def _under_all(patterns: Sequence[str], domains: Sequence[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for pattern in patterns:
        domain, slash, rest = pattern.partition("/")
        names = domains if slash and domain in domains else (domain,)
        found |= dict.fromkeys(f"{name}{slash}{rest}" for name in names)
    return tuple(found)
