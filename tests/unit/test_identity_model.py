from __future__ import annotations

import pytest
from culvert.compile.mesh_settings import settings_in_force
from culvert.model.identity import MAX_SPIFFE_ID_BYTES, Identity, parse_spiffe_id
from culvert.model.policy import MeshConfig
from culvert.model.settings import Settings
from hypothesis import given
from hypothesis import strategies as st

CLERK = Identity("cluster.local", "shop", "clerk")
DOMAINS = st.text("abcxyz019._-", min_size=1, max_size=255)
NAMES = st.text("abcXYZ019._-", min_size=1, max_size=253).filter(lambda n: n not in (".", ".."))


def test_identity_of_a_service_account_is_what_other_meshes_call_it() -> None:
    assert CLERK.spiffe_id == "spiffe://cluster.local/ns/shop/sa/clerk"
    assert str(CLERK) == CLERK.spiffe_id


@given(DOMAINS, NAMES, NAMES)
def test_what_is_written_is_read_again(domain: str, namespace: str, account: str) -> None:
    identity = Identity(domain, namespace, account)
    assert parse_spiffe_id(identity.spiffe_id) == identity


@pytest.mark.parametrize(
    ("domain", "namespace", "account", "words"),
    [
        ("", "shop", "clerk", "'' is not a trust domain"),
        ("Example.org", "shop", "clerk", "'Example.org' is not a trust domain"),
        ("example.org:80", "shop", "clerk", "is not a trust domain"),
        ("user@example.org", "shop", "clerk", "is not a trust domain"),
        ("d" * 256, "shop", "clerk", "is not a trust domain"),
        ("cluster.local", "", "clerk", "'' cannot be part"),
        ("cluster.local", "shop/sa", "clerk", "'shop/sa' cannot be part"),
        ("cluster.local", "shop", "..", "'..' cannot be part"),
        ("cluster.local", "shop", "a%2Fb", "cannot be part"),
        ("cluster.local", "shop", "clerk\n", "cannot be part"),
        ("cluster.local", "shop", "c" * MAX_SPIFFE_ID_BYTES, "at most 2048 bytes"),
    ],
)
def test_part_that_a_spiffe_id_may_not_have_is_refused(
    domain: str, namespace: str, account: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Identity(domain, namespace, account)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not begin with spiffe://"),
        ("https://cluster.local/ns/shop/sa/clerk", "does not begin with"),
        ("SPIFFE://cluster.local/ns/shop/sa/clerk", "does not begin with"),
        ("spiffe://cluster.local", "is not spiffe://<trust domain>/ns"),
        ("spiffe://cluster.local/ns/shop/sa", "is not spiffe://"),
        ("spiffe://cluster.local/ns/shop/sa/clerk/", "is not spiffe://"),
        ("spiffe://cluster.local/ns/shop/sa/clerk/more", "is not spiffe://"),
        ("spiffe://cluster.local/sa/shop/ns/clerk", "is not spiffe://"),
        ("spiffe://cluster.local/ns/shop/sa/clerk?x=1", "cannot be part"),
        ("spiffe:///ns/shop/sa/clerk", "'' is not a trust domain"),
    ],
)
def test_text_that_is_no_identity_of_the_mesh_is_refused_with_the_reason(
    text: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        parse_spiffe_id(text)


def test_identities_are_in_the_order_of_their_parts() -> None:
    last, first = Identity("b", "a", "z"), Identity("a", "z", "z")
    assert sorted([last, first]) == [first, last]


def test_mesh_config_names_the_trust_domain_and_else_the_node_does() -> None:
    settings = Settings(trust_domain="node.example", trust_domain_aliases=("old",))
    said = MeshConfig(trust_domain="mesh.example", trust_domain_aliases=())
    in_force = settings_in_force(settings, said)
    assert (in_force.trust_domain, in_force.trust_domain_aliases) == ("mesh.example", ())
    assert settings_in_force(settings, MeshConfig()).trust_domain_aliases == ("old",)
    assert settings_in_force(settings, MeshConfig()).trust_domain == "node.example"
