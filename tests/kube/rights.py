"""A controller's service account with the rights that the chart gives it, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from culvert.embedded.control_plane import ControlPlane

from tests.chart.test_render import rendered

CONTROLLER = "culvert-controller"
_RIGHTS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
_OWN = ("Lease", "ConfigMap")


@contextmanager
def controllers_rights(plane: ControlPlane, namespace: str, *values: str) -> Iterator[Path]:
    """Make the chart's objects about the controller in the namespace; a kubeconfig of its account.

    On leaving, those go that are of no namespace.
    """
    objects = [
        one
        for one in rendered(*values, namespace=namespace)
        if one["kind"] in (*_RIGHTS, *_OWN) and "controller" in one["metadata"]["name"]
    ]
    made = plane.kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(objects))
    assert made.returncode == 0, made.stderr
    try:
        yield plane.kubeconfig_for(namespace, CONTROLLER)
    finally:
        of_none = yaml.safe_dump_all(one for one in objects if one["kind"].startswith("Cluster"))
        plane.kubectl("delete", "-f", "-", stdin=of_none)
