"""Options about identities: what is wrong is named with the option, before anything runs."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import typer
from culvert.cli.identity_options import parse_lifetime, parse_trust_domain
from culvert.cli.main import application
from typer.testing import CliRunner


@pytest.mark.parametrize(
    ("text", "lifetime"),
    [("10m", timedelta(minutes=10)), ("1h30m", timedelta(hours=1.5)), ("168h", timedelta(days=7))],
)
def test_lifetimes_from_ten_minutes_to_a_week_are_taken(text: str, lifetime: timedelta) -> None:
    assert parse_lifetime("--lifetime", text) == lifetime


@pytest.mark.parametrize("text", ["9m59s", "168h1s", "0", "1d", ""])
def test_other_lifetimes_are_refused_with_the_option(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=f"--lifetime: '{text}' is "):
        parse_lifetime("--lifetime", text)


def test_trust_domain_is_taken_as_it_is_or_refused() -> None:
    assert parse_trust_domain("--domain", "shop.example") == "shop.example"
    for text in ("Shop", "spiffe://shop", ""):
        with pytest.raises(typer.BadParameter, match="--domain"):
            parse_trust_domain("--domain", text)


def test_secret_of_the_operator_is_not_the_one_that_the_controller_writes() -> None:
    argv = ["controller", "--namespace=a", "--authority-secret=culvert-controller-authority"]
    result = CliRunner().invoke(application, argv)
    assert result.exit_code == 2
    assert "--authority-secret" in result.output


def test_bootstrap_for_identities_is_another() -> None:
    plain, with_identities = (
        json.loads(CliRunner().invoke(application, ["bootstrap", "--node=a", *more]).output)
        for more in ([], ["--identity"])
    )
    assert "bootstrap_extensions" not in plain
    assert with_identities["bootstrap_extensions"]
