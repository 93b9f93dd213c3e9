"""Kubeconfig files: one cluster, one user."""

from __future__ import annotations

from pathlib import Path

import yaml


def write_kubeconfig(path: Path, server: str, ca: Path, user: Path | str) -> None:
    """Write one, readable by its owner alone.

    ``user`` is a token, or the path of a client certificate and its key without ``.crt`` and
    ``.key``. Files are named, not copied into it: clients write what is inside to temporary files,
    and leave them behind when they are killed.
    """
    credentials = (
        {"token": user}
        if isinstance(user, str)
        else {"client-certificate": f"{user}.crt", "client-key": f"{user}.key"}
    )
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "culvert", "cluster": {"server": server, "certificate-authority": str(ca)}}
        ],
        "users": [{"name": "user", "user": credentials}],
        "contexts": [{"name": "culvert", "context": {"cluster": "culvert", "user": "user"}}],
        "current-context": "culvert",
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document))
