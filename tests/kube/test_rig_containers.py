"""Containers of images that have stand-ins: their files, variables and privileges."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.kube_cluster import kube_cluster
from culvert.rig import Rig

from tests.kube.cluster import LIMIT_SECONDS, Town

pytestmark = pytest.mark.kernel

LOOK = """
import json, os, pathlib, ssl, urllib.request
root = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
request = urllib.request.Request(
    f"https://{host}:{port}/apis/authentication.k8s.io/v1/selfsubjectreviews", method="POST",
    data=b'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}',
    headers={"Authorization": "Bearer " + (root / "token").read_text(),
             "Content-Type": "application/json"})
trusted = ssl.create_default_context(cafile=str(root / "ca.crt"))
review = json.load(urllib.request.urlopen(request, context=trusted))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def refused(path):
    try:
        pathlib.Path(path).write_text("x")
    except OSError as error:
        return type(error).__name__
    return ""
print(json.dumps({
    "user": review["status"]["userInfo"]["username"],
    "uid": os.getuid(), "effective": status["CapEff"].strip(),
    "gains": status["NoNewPrivs"].strip(),
    "word": pathlib.Path("/etc/words/word").read_text(),
    "colour": os.environ["COLOUR"], "node": os.environ["NODE"],
    "root": refused("/written"), "scratch": refused("/scratch/written"),
}))
"""

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "looker"},
    "spec": {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532},
        "containers": [
            {
                "name": "looker",
                "image": "example.com/culvert/controller:1",
                "command": ["python", "-c", LOOK],
                "env": [
                    {"name": "COLOUR", "valueFrom": {"secretKeyRef": {"name": "s", "key": "c"}}},
                    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                ],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "words", "mountPath": "/etc/words"},
                    {"name": "scratch", "mountPath": "/scratch"},
                ],
            }
        ],
        "volumes": [
            {"name": "words", "configMap": {"name": "words"}},
            {"name": "scratch", "emptyDir": {}},
        ],
    },
}


async def test_container_has_the_files_identity_and_privileges_its_pod_says(
    control_plane: ControlPlane, namespace: str
) -> None:
    with Rig() as rig:
        async with kube_cluster(rig, control_plane) as cluster:
            town = Town(cluster, namespace)
            await town.kubectl("create", "configmap", "words", "--from-literal=word=mesh")
            await town.kubectl("create", "secret", "generic", "s", "--from-literal=c=green")
            await town.apply(POD)
            async with asyncio.timeout(LIMIT_SECONDS):
                while True:
                    (pod,) = await town.get("pods")
                    if pod["status"].get("phase") in ("Succeeded", "Failed"):
                        break
                    await asyncio.sleep(0.2)
            log = cluster.nodes.log_directory / f"{namespace}_looker" / "looker.log"
            text = log.read_text()
            assert pod["status"]["phase"] == "Succeeded", text
            assert json.loads(text.splitlines()[-1]) == {
                "user": f"system:serviceaccount:{namespace}:default",
                "uid": 65532,
                "effective": "0000000000000000",
                "gains": "1",
                "word": "mesh",
                "colour": "green",
                "node": pod["spec"]["nodeName"],
                "root": "OSError",
                "scratch": "",
            }
