"""Attacks on the certificate authority, by a node: it gets nothing but its own pods' identities."""

from __future__ import annotations

import http.client
import json
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from culvert.embedded.unix_http import UnixConnection
from culvert.identity.wire import CERTIFICATES_PATH, MAX_REQUEST_BYTES
from culvert.identity.x509 import make_request, new_key, uris

from tests.e2e.attacker import spiffe_id
from tests.e2e.town import eventually

MINE, THEIRS = spiffe_id("mine"), spiffe_id("theirs")


class Authority:
    """A running ``culvert ca`` with a socket for each of two nodes."""

    def __init__(self, folder: Path) -> None:
        self.sockets = {node: folder / f"{node}.sock" for node in ("node-a", "node-b")}
        self._log = folder / "ca.log"
        manifests = folder / "manifests"
        manifests.mkdir()
        pods = [
            pod("mine", "node-a"),
            pod("theirs", "node-b"),
            pod("finished", "node-a", phase="Succeeded"),
            pod("pending", None, phase="Pending"),
        ]
        (manifests / "pods.yaml").write_text(yaml.safe_dump_all(pods))
        argv = [sys.executable, "-m", "culvert", "ca", "--manifests", str(manifests)]
        argv += [f"--socket={node}={path}" for node, path in self.sockets.items()]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        eventually(lambda: all(path.exists() for path in self.sockets.values()), "the sockets")

    def log(self) -> list[dict[str, Any]]:
        """What it wrote: one JSON object a line, whatever it was sent."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def send(self, node: str, body: bytes, method: str = "POST") -> tuple[int, dict[str, Any]]:
        """Status and body of the answer."""
        connection = UnixConnection(self.sockets[node], timeout_seconds=10.0)
        try:
            connection.request(method, CERTIFICATES_PATH, body=body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(content) if content.startswith(b"{") else {}

    def ask(
        self, node: str, identity: str, request: bytes | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Ask for a certificate."""
        asked = make_request(new_key()) if request is None else request
        return self.send(
            node, json.dumps({"identity": identity, "request": asked.decode()}).encode()
        )


def pod(account: str, node: str | None, *, phase: str = "Running") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": account, "namespace": "default", "uid": f"uid-{account}"},
        "spec": {
            "serviceAccountName": account,
            "containers": [{"name": "main", "image": "local"}],
            **({"nodeName": node} if node else {}),
        },
        "status": {"phase": phase},
    }


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    running = Authority(tmp_path_factory.mktemp("ca"))
    yield running
    running.process.terminate()
    assert running.process.wait(timeout=30) == 0


def leaf_of(answer: dict[str, Any]) -> x509.Certificate:
    return x509.load_pem_x509_certificates(answer["chain"].encode())[0]


def test_node_gets_its_own_pods_identity_and_it_is_written_down(authority: Authority) -> None:
    status, answer = authority.ask("node-a", MINE)
    assert status == 200, answer
    leaf = leaf_of(answer)
    assert uris(leaf) == [MINE]
    [line] = [line for line in authority.log() if line.get("serial") == f"{leaf.serial_number:x}"]
    assert (line["event"], line["identity"], line["node"]) == ("certificate issued", MINE, "node-a")


FORBIDDEN = {
    "of another node": (THEIRS, 403, "NotOnNode"),
    "of no pod": (spiffe_id("nobody"), 403, "NotOnNode"),
    "of a pod that has finished": (spiffe_id("finished"), 403, "NotOnNode"),
    "of a pod that is nowhere yet": (spiffe_id("pending"), 403, "NotOnNode"),
    "of the account in another namespace": (
        "spiffe://cluster.local/ns/kube-system/sa/mine",
        403,
        "NotOnNode",
    ),
    "of another case": ("spiffe://cluster.local/ns/default/sa/Mine", 403, "NotOnNode"),
    "of another trust domain": (spiffe_id("mine", "evil.test"), 403, "OtherTrustDomain"),
    "of one that begins alike": (spiffe_id("mine", "cluster.local.evil"), 403, "OtherTrustDomain"),
    "of the authority": ("spiffe://cluster.local", 400, "Unreadable"),
    "by way of another": (f"{THEIRS}/../mine", 400, "Unreadable"),
    "of two": (f"{MINE},{THEIRS}", 400, "Unreadable"),
    "with a query": (f"{MINE}?x=/sa/theirs", 400, "Unreadable"),
    "with a line of its own": (f"{MINE}\n{THEIRS}", 400, "Unreadable"),
    "with a NUL": (f"{MINE}\0", 400, "Unreadable"),
    "with a pattern": (spiffe_id("*"), 400, "Unreadable"),
    "of nothing": ("", 400, "Unreadable"),
}


@pytest.mark.parametrize(("identity", "status", "reason"), FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_identity_is_not_given(
    authority: Authority, identity: str, status: int, reason: str
) -> None:
    before = len(authority.log())
    got, answer = authority.ask("node-a", identity)
    assert (got, answer["reason"]) == (status, reason), answer
    [line] = authority.log()[before:]
    assert (line["event"], line["node"], line["reason"]) == ("refused", "node-a", reason)


def request_of(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, *names: x509.GeneralName
) -> bytes:
    """A signing request that asks for names, and to be an authority."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def request_with_the_key_of_another() -> bytes:
    """Of a certificate that is known, as all are, but not the key."""
    known, signed = (x509.load_pem_x509_csr(make_request(new_key())) for _ in range(2))
    der = signed.public_bytes(serialization.Encoding.DER)
    forged = der.replace(signed.tbs_certrequest_bytes, known.tbs_certrequest_bytes)
    return x509.load_der_x509_csr(forged).public_bytes(serialization.Encoding.PEM)


REQUESTS: dict[str, Callable[[], bytes]] = {
    "none": lambda: b"",
    "no request": lambda: (
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"
    ),
    "another's key": request_with_the_key_of_another,
    "RSA": lambda: request_of(rsa.generate_private_key(65537, 2048)),
    "P-384": lambda: request_of(ec.generate_private_key(ec.SECP384R1())),
}


@pytest.mark.parametrize("made", REQUESTS.values(), ids=REQUESTS.keys())
def test_request_is_refused(authority: Authority, made: Callable[[], bytes]) -> None:
    before = len(authority.log())
    status, answer = authority.ask("node-a", MINE, made())
    assert (status, answer["reason"]) == (400, "BadRequest"), answer
    [line] = authority.log()[before:]
    assert (line["event"], line["node"], line["reason"]) == ("refused", "node-a", "BadRequest")


def test_names_and_rights_that_a_request_asks_for_are_not_given(authority: Authority) -> None:
    request = request_of(new_key(), x509.UniformResourceIdentifier(THEIRS), x509.DNSName("api"))
    status, answer = authority.ask("node-a", MINE, request)
    assert status == 200, answer
    leaf = leaf_of(answer)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [MINE]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_request_that_is_sent_again_serves_its_key_alone(authority: Authority) -> None:
    """Who has overheard one gets certificates that only the node that made it can use."""
    key = new_key()
    request = make_request(key)
    leaves = []
    for _ in range(2):
        status, answer = authority.ask("node-a", MINE, request)
        assert status == 200
        leaves.append(leaf_of(answer))
    assert [one.public_key() for one in leaves] == [key.public_key()] * 2
    serials = {f"{one.serial_number:x}" for one in leaves}
    assert len(serials) == 2
    assert {line.get("serial") for line in authority.log()} >= serials
    assert authority.ask("node-b", MINE, request)[0] == 403


BODIES = {
    "not JSON": (b"\xff\x00{", 400, "Unreadable"),
    "a list": (b"[]", 400, "Unreadable"),
    "no identity": (b'{"request": ""}', 400, "Unreadable"),
    "numbers": (b'{"identity": 1, "request": 2}', 400, "Unreadable"),
    "deep": (b"[" * 20_000, 400, "Unreadable"),
    "too large": (b" " * (MAX_REQUEST_BYTES + 1), 413, "TooLarge"),
    "far too large": (b" " * (64 * MAX_REQUEST_BYTES), 413, "TooLarge"),
}


@pytest.mark.parametrize(("body", "status", "reason"), BODIES.values(), ids=BODIES.keys())
def test_body_that_is_no_request_is_refused(
    authority: Authority, body: bytes, status: int, reason: str
) -> None:
    before = len(authority.log())
    try:
        got, answer = authority.send("node-a", body)
    except (http.client.HTTPException, ConnectionError):
        # It does not read what is too large to its end.
        assert status == 413
    else:
        assert (got, answer["reason"]) == (status, reason)
    [line] = authority.log()[before:]
    assert (line["event"], line["node"], line["reason"]) == ("refused", "node-a", reason)


def test_other_methods_are_not_answered(authority: Authority) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert authority.send("node-a", b"", method)[0] == 405


def test_sockets_are_for_their_owner_alone_and_no_key_is_in_the_log(authority: Authority) -> None:
    for path in authority.sockets.values():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = json.dumps(authority.log())
    assert "BEGIN" not in text
    assert "PRIVATE" not in text
