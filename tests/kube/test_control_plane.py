"""The control plane that the other tests of this folder stand on."""

from __future__ import annotations

import json
import time

from culvert.embedded.control_plane import ControlPlane

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example.com/web}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ipFamilyPolicy: PreferDualStack
  ports: [{port: 80}]
"""


def items(plane: ControlPlane, namespace: str, kind: str) -> list[dict[str, object]]:
    shown = plane.kubectl("get", kind, "--namespace", namespace, "--output", "json")
    assert shown.returncode == 0, shown.stderr
    return list(json.loads(shown.stdout)["items"])


def test_deployment_gets_pods_and_a_service_slices_of_both_families(
    control_plane: ControlPlane, namespace: str
) -> None:
    made = control_plane.kubectl("apply", "--namespace", namespace, "-f", "-", stdin=DEPLOYMENT)
    assert made.returncode == 0, made.stderr
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pods = items(control_plane, namespace, "pods")
        slices = items(control_plane, namespace, "endpointslices")
        if len(pods) == 2 and len(slices) == 2:
            break
        time.sleep(0.1)
    assert len(pods) == 2
    assert {part["addressType"] for part in slices} == {"IPv4", "IPv6"}


def test_restarted_api_server_has_the_objects_it_had(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.kubectl("create", "configmap", "kept", "--namespace", namespace)
    control_plane.restart_api_server()
    names = {part["metadata"]["name"] for part in items(control_plane, namespace, "configmaps")}  # type: ignore[index]
    assert "kept" in names


def test_resource_version_from_before_a_compaction_is_gone(
    control_plane: ControlPlane, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    listed = json.loads(control_plane.kubectl("get", "--raw", path).stdout)
    version = listed["metadata"]["resourceVersion"]
    for number in range(5):
        control_plane.kubectl("create", "configmap", f"n{number}", "--namespace", namespace)
    control_plane.compact_etcd()
    control_plane.restart_api_server()
    watched = control_plane.kubectl(
        "get", "--raw", f"{path}?watch=true&timeoutSeconds=1&resourceVersion={version}"
    )
    assert '"code":410' in watched.stdout + watched.stderr
