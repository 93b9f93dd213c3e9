"""Kubeconfig files: one cluster, one user."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from culvert.embedded.control_plane.certificates import KeyPair


def write_kubeconfig(path: Path, server: str, ca: bytes, user: KeyPair | str) -> None:
    """Write one, readable by its owner alone; ``user`` is a client certificate or a token."""
    credentials = (
        {"token": user}
        if isinstance(user, str)
        else {
            "client-certificate-data": _text(user.certificate),
            "client-key-data": _text(user.key),
        }
    )
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "culvert",
                "cluster": {"server": server, "certificate-authority-data": _text(ca)},
            }
        ],
        "users": [{"name": "user", "user": credentials}],
        "contexts": [{"name": "culvert", "context": {"cluster": "culvert", "user": "user"}}],
        "current-context": "culvert",
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
