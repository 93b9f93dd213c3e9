from __future__ import annotations

from pathlib import Path

from culvert.compile.bootstrap import bootstrap_json, compile_bootstrap

SHIPPED = Path(__file__).resolve().parents[2] / "proxy-config" / "bootstrap.json"


def test_shipped_bootstrap_is_what_the_compiler_makes() -> None:
    made = compile_bootstrap(
        "node-name", "/run/culvert/agent/xds.sock", "/run/culvert/envoy/admin.sock"
    )
    assert SHIPPED.read_text() == bootstrap_json(made) + "\n"
