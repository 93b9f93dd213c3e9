"""The controllers as a certificate authority, on a real API server, asked by the agents' client."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from culvert.embedded.control_plane import ControlPlane
from culvert.identity.certificate import Certificate, read_certificate
from culvert.identity.client import ControllerIssuer, IssuerError
from culvert.identity.x509 import make_request, new_key
from culvert.kube.client import KubeClient
from culvert.leader.connection import ControllerAccess, ControllerConnection
from culvert.model.identity import Identity

from tests.kube.cluster import eventually, kubectl
from tests.kube.replica import replicas
from tests.kube.rights import controllers_rights
from tests.kube.tokens import signed_again
from tests.unit.certificates import certificates_of, uris_of
from tests.unit.operator_authority import DAY, files, make

SERVICE = "culvert-controller"
SECRET = "culvert-controller-authority"
AGENT = "culvert-agent"
ISSUING = ("--issue-certificates", "--certificate-lifetime", "1h")


@dataclass(slots=True)
class Cluster:
    """A namespace with a controller's agents: one on each of two nodes, and two other pods."""

    plane: ControlPlane
    namespace: str
    directory: Path

    @property
    def clerk(self) -> Identity:
        """Of a pod on node-1."""
        return Identity("cluster.local", self.namespace, "clerk")

    @property
    def cook(self) -> Identity:
        """Of a pod on node-2."""
        return Identity("cluster.local", self.namespace, "cook")

    async def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """In this namespace."""
        done = await kubectl(self.plane, "--namespace", self.namespace, *arguments, stdin=stdin)
        return done.strip()

    async def set_up(self) -> None:
        """Make nodes, accounts and pods."""
        accounts = [_object("ServiceAccount", name) for name in (AGENT, "clerk", "cook")]
        nodes = [_object("Node", name) for name in ("node-1", "node-2")]
        pods = [
            _pod("agent-1", "node-1", AGENT),
            _pod("agent-2", "node-2", AGENT),
            _pod("clerk", "node-1", "clerk"),
            _pod("cook", "node-2", "cook"),
        ]
        await self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([*nodes, *accounts]))
        await self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(pods))

    async def token(self, pod: str = "agent-1", audience: str = SERVICE) -> str:
        """As the kubelet of the pod's node gets it for a projected volume."""
        uid = await self.kubectl("get", f"pod/{pod}", "--output=jsonpath={.metadata.uid}")
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod}")
        return await self.kubectl(
            *("create", "token", AGENT, f"--audience={audience}"),
            *(*bound, f"--bound-object-uid={uid}"),
        )

    async def secret(self) -> dict[str, str]:
        """Data of the controllers' Secret."""
        shown = await self.kubectl("get", f"secret/{SECRET}", "--output=json")
        return dict(json.loads(shown)["data"])

    @asynccontextmanager
    async def issuer(self, token: str) -> AsyncIterator[ControllerIssuer]:
        """What an agent asks that shows this token."""
        file = self.directory / "token"
        file.write_text(token)
        access = ControllerAccess(self.namespace, SERVICE, file)
        async with (
            KubeClient.from_kubeconfig(self.plane.kubeconfig) as api,
            ControllerConnection(api, access, lambda: None) as connection,
        ):
            yield ControllerIssuer(lambda: connection)

    async def certificate(self, identity: Identity, token: str) -> Certificate:
        """Ask until the authority is ready; what an agent takes is what it checks."""
        key = new_key()
        async with self.issuer(token) as issuer, asyncio.timeout(60):
            while True:
                try:
                    answer = await issuer.issue(identity, make_request(key))
                    return read_certificate(identity, key, answer)
                except IssuerError as error:
                    if error.reason not in ("Unreachable", "Unavailable"):
                        raise
                await asyncio.sleep(0.2)

    async def refusal(self, identity: Identity, token: str) -> str:
        """Reason for which nothing is issued, by an authority that is ready."""
        with pytest.raises(IssuerError) as refused:
            await self.certificate(identity, token)
        return refused.value.reason


def _object(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}


def _pod(name: str, node: str, account: str) -> dict[str, Any]:
    containers = [{"name": "main", "image": "none"}]
    spec = {"nodeName": node, "serviceAccountName": account, "containers": containers}
    return {**_object("Pod", name), "spec": spec}


@pytest.fixture
def rights(control_plane: ControlPlane, namespace: str) -> Iterator[Path]:
    """Those that the chart gives a controller that issues, and reads a Secret ``cacerts``."""
    values = ("identity.enabled=true", "identity.existingSecret=cacerts")
    with controllers_rights(control_plane, namespace, *values) as kubeconfig:
        yield kubeconfig


@pytest.fixture
async def cluster(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Cluster:
    made = Cluster(control_plane, namespace, tmp_path)
    await made.set_up()
    return made


async def test_agent_gets_certificates_of_its_nodes_pods_alone(
    cluster: Cluster, rights: Path, tmp_path: Path
) -> None:
    token = await cluster.token()
    with replicas(rights, cluster.namespace, tmp_path, "one", options=ISSUING) as (one,):
        issued = await cluster.certificate(cluster.clerk, token)
        assert uris_of(issued.chain_pem) == [cluster.clerk.spiffe_id]
        assert 3500 < issued.life_seconds <= 3700
        assert await cluster.refusal(cluster.cook, token) == "NotOnNode"
        assert await cluster.certificate(cluster.cook, await cluster.token("agent-2"))
        elsewhere = Identity("elsewhere.test", cluster.namespace, "clerk")
        assert await cluster.refusal(elsewhere, token) == "OtherTrustDomain"
        said = one.log.read_text()
    assert f"{issued.serial:x}" in said, "what is issued is told"
    assert "PRIVATE KEY" not in said
    assert token not in said
    assert "Traceback" not in said


async def test_pod_that_is_new_is_not_refused(
    cluster: Cluster, rights: Path, tmp_path: Path
) -> None:
    token = await cluster.token()
    with replicas(rights, cluster.namespace, tmp_path, "one", options=ISSUING):
        assert await cluster.refusal(cluster.cook, token) == "NotOnNode"
        pod = _pod("second-cook", "node-1", "cook")
        await cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(pod))
        assert await cluster.certificate(cluster.cook, token)


async def test_tokens_of_others_and_of_before_get_nothing(
    cluster: Cluster, rights: Path, tmp_path: Path
) -> None:
    token = await cluster.token()
    key = cluster.plane.directory / "service-account.key"
    now_seconds = int(time.time())
    expired = signed_again(token, key, iat=now_seconds - 7200, exp=now_seconds - 600)
    still_good = signed_again(token, key, exp=now_seconds + 1800)
    audience = await cluster.token(audience="another")
    with replicas(rights, cluster.namespace, tmp_path, "one", options=ISSUING):
        assert await cluster.certificate(cluster.clerk, token)
        assert await cluster.certificate(cluster.clerk, still_good), "the signature is not at fault"
        for wrong in (expired, audience, "nonsense"):
            assert await cluster.refusal(cluster.clerk, wrong) == "Unauthenticated"


async def test_two_controllers_have_one_authority(
    cluster: Cluster, rights: Path, tmp_path: Path
) -> None:
    token = await cluster.token()
    start = (rights, cluster.namespace, tmp_path, "one", "two")
    with replicas(*start, options=ISSUING) as both:
        before = await cluster.certificate(cluster.clerk, token)
        secret = await cluster.secret()
        leader, other = sorted(both, key=lambda one: not one.said('"leading"'))
        assert not other.said("certificate authority ready")
        leader.end()
        await eventually(lambda: other.said("certificate authority ready"), "the next to issue")
        after = await cluster.certificate(cluster.clerk, token)
        assert await cluster.secret() == secret, "written once"
    of = [certificates_of(one.chain_pem)[1] for one in (before, after)]
    assert of[0] == of[1], "both rest on the same authority"


async def test_provided_authority_signs(cluster: Cluster, rights: Path, tmp_path: Path) -> None:
    token, now = await cluster.token(), datetime.now(UTC)
    begins, ends = now - DAY, now + 30 * DAY
    root = make("root", begins=begins, ends=ends)
    signing = make("signing", root, path_length=0, begins=begins, ends=ends)
    data = {
        name: base64.b64encode(content).decode()
        for name, content in files(signing, roots=(root,)).items()
    }
    secret = {**_object("Secret", "cacerts"), "data": data}
    options = (*ISSUING, "--authority-secret=cacerts")
    start = (rights, cluster.namespace, tmp_path, "one")
    with replicas(*start, options=options) as (one,):
        await eventually(lambda: one.said("provided authority not used"), "it to miss it")
        assert "cacerts" in one.log.read_text()
        await cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(secret))
        issued = await cluster.certificate(cluster.clerk, token)
        assert certificates_of(issued.chain_pem)[1:] == [signing.certificate]
        kept = await cluster.secret()
    assert not any("key" in name for name in kept), "its key stays where it is"
