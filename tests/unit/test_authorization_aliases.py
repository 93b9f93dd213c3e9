"""Principals of policies under each name of the trust domain."""

from __future__ import annotations

from culvert.compile.authorization.aliases import with_aliases
from culvert.compile.authorization.evaluate import evaluate
from culvert.compile.authorization.facts import Connection
from culvert.model.policy import AuthorizationAction, AuthorizationPolicy, Condition, Rule, Source

DOMAINS = ("new.org", "old.org")


def allowing(rule: Rule) -> AuthorizationPolicy:
    return AuthorizationPolicy(
        namespace="shop", name="one", action=AuthorizationAction.ALLOW, rules=(rule,)
    )


def allows(policy: AuthorizationPolicy, principal: str) -> bool:
    call = Connection("10.0.0.1", "10.0.0.9", 8080, principal)
    return evaluate([with_aliases(policy, DOMAINS)], call).allowed


def test_a_principal_of_any_of_the_domains_is_meant_under_all() -> None:
    for written in DOMAINS:
        policy = allowing(Rule(sources=(Source(principals=(f"{written}/ns/shop/sa/cart",)),)))
        assert all(allows(policy, f"{domain}/ns/shop/sa/cart") for domain in DOMAINS)
        assert not allows(policy, "other.org/ns/shop/sa/cart")
        assert not allows(policy, "old.org/ns/shop/sa/web")


def test_an_exception_holds_under_all_names() -> None:
    exception = ("old.org/ns/shop/*",)
    policies = (
        allowing(Rule(sources=(Source(not_principals=exception),))),
        allowing(Rule(conditions=(Condition(key="source.principal", not_values=exception),))),
    )
    for policy in policies:
        assert not any(allows(policy, f"{domain}/ns/shop/sa/cart") for domain in DOMAINS)
        assert allows(policy, "new.org/ns/other/sa/cart")


def test_other_domains_and_patterns_without_one_stay_as_they_are() -> None:
    patterns = ("other.org/ns/shop/sa/cart", "*/sa/cart", "*", "old*")
    [source] = (
        with_aliases(allowing(Rule(sources=(Source(principals=patterns),))), DOMAINS)
        .rules[0]
        .sources
    )
    assert source.principals == patterns


def test_one_domain_changes_nothing() -> None:
    policy = allowing(Rule())
    assert with_aliases(policy, ("new.org",)) is policy
