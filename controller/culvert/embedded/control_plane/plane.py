"""etcd, kube-apiserver and kube-controller-manager as three processes on loopback."""

from __future__ import annotations

import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from culvert.embedded.control_plane.binaries import find_program
from culvert.embedded.control_plane.certificates import Authority, KeyPair, service_account_key
from culvert.embedded.control_plane.kubeconfig import write_kubeconfig
from culvert.embedded.control_plane.process import ControlPlaneError, Program

__all__ = ["ControlPlane", "ControlPlaneError"]

SERVICE_CIDRS = ("10.96.0.0/16", "fd00:10:96::/112")
"""Of cluster IPs; those that the rig gives out as well."""

_CONTROLLERS = (
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "statefulset-controller",
    "taint-eviction-controller",
)
_ETCD_SECONDS = 20.0
_API_SERVER_SECONDS = 90.0
_CONTROLLER_MANAGER_SECONDS = 60.0
KUBELET_CLIENT = "kube-apiserver-kubelet-client"
"""The common name that the API server shows to kubelets."""
_BUILT_IN_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")


class ControlPlane:
    """A control plane whose state, keys and logs are in one directory; use it in a ``with``.

    ``names`` are more DNS names and addresses under which clients will reach the API server. It
    has neither scheduler nor kubelets.
    """

    def __init__(self, directory: Path, *, names: Sequence[str] = ()) -> None:
        self.directory = directory
        self.kubeconfig = directory / "admin.kubeconfig"
        """Of a cluster administrator."""
        self.ca_path = directory / "ca.crt"
        self.kubelet_certificate = directory / "kubelet.crt"
        """For kubelets that serve on this machine's loopback."""
        self.kubelet_key = directory / "kubelet.key"
        self.port = _free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self._etcd_port = _free_port()
        self._etcd_url = f"http://127.0.0.1:{self._etcd_port}"
        self._manager_port = _free_port()
        self._names = (*_BUILT_IN_NAMES, "127.0.0.1", "10.96.0.1", "fd00:10:96::1", *names)
        self._authority = Authority("culvert-control-plane")
        self._etcd: Program | None = None
        self._api_server: Program | None = None
        self._manager: Program | None = None

    def __enter__(self) -> Self:
        """Start all of it.

        Raises:
            MissingProgramError: a program is not on this machine.
            ControlPlaneError: one of them did not start.
        """
        try:
            self._write_files()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End all of it; the files stay."""
        for program in (self._manager, self._api_server, self._etcd):
            if program is not None:
                program.stop()

    def stop_controllers(self) -> None:
        """End the controller manager alone, for good: nobody reacts to what is written."""
        assert self._manager is not None
        self._manager.stop()
        self._manager = None

    @property
    def etcd_url(self) -> str:
        """Where etcd takes clients, without credentials."""
        return self._etcd_url

    def stop_api_server(self) -> None:
        """End the API server alone: clients find nobody."""
        assert self._api_server is not None
        self._api_server.stop()

    def start_api_server(self) -> None:
        """Start the API server again, at the same address and with the same state.

        The controller manager is started anew with it: by itself it would wait between attempts for
        up to a minute after a few failures, and longer when etcd is compacted meanwhile.

        Raises:
            ControlPlaneError: one of them did not start.
        """
        assert self._api_server is not None
        self._api_server.start()
        self._api_server.wait_ready(
            lambda: _answers(f"{self.url}/readyz", self.ca_path), _API_SERVER_SECONDS
        )
        if self._manager is not None:
            self._manager.stop()
            self._start_manager()

    def restart_api_server(self) -> None:
        """Stop and start."""
        self.stop_api_server()
        self.start_api_server()

    def kubectl(
        self, *arguments: str, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as administrator; the caller looks at ``returncode`` and ``stderr``."""
        argv = [str(find_program("kubectl")), "--kubeconfig", str(self.kubeconfig), *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)

    def kubeconfig_for(self, namespace: str, service_account: str) -> Path:
        """A kubeconfig with a fresh token, good for an hour, of a ServiceAccount that exists.

        Raises:
            ControlPlaneError: the API server gave no token.
        """
        made = self.kubectl("create", "token", service_account, "--namespace", namespace)
        if made.returncode:
            raise ControlPlaneError(f"no token for {namespace}/{service_account}: {made.stderr}")
        path = self.directory / f"{namespace}-{service_account}.kubeconfig"
        write_kubeconfig(path, self.url, self.ca_path, made.stdout.strip())
        return path

    def compact_etcd(self) -> None:
        """Throw away all history: resourceVersions before now are too old afterwards.

        Raises:
            ControlPlaneError: etcd refused.
        """
        etcdctl = str(find_program("etcdctl"))
        argv = [etcdctl, "--endpoints", self._etcd_url]
        found = _run([*argv, "get", "/registry/health", "--write-out", "fields"])
        revision = next(
            line.rpartition(":")[2].strip()
            for line in found.splitlines()
            if line.startswith('"Revision"')
        )
        _run([*argv, "compact", revision])

    def _write_files(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.ca_path.write_bytes(self._authority.certificate)
        serving = self._authority.server("kube-apiserver", self._names)
        _write(self.directory / "apiserver", serving)
        _write(self.directory / "kubelet-client", self._authority.client(KUBELET_CLIENT))
        kubelet = self._authority.server("kubelet", ("localhost", "127.0.0.1"))
        _write(self.directory / "kubelet", kubelet)
        key = self.directory / "service-account.key"
        key.touch(mode=0o600)
        key.write_bytes(service_account_key())
        for name, user, groups in (
            ("admin", "kubernetes-admin", ("system:masters",)),
            ("controller-manager", "system:kube-controller-manager", ()),
        ):
            _write(self.directory / name, self._authority.client(user, groups))
            path = self.directory / f"{name}.kubeconfig"
            write_kubeconfig(path, self.url, self.ca_path, self.directory / name)

    def _start(self) -> None:
        self._etcd = self._program("etcd", self._etcd_arguments())
        self._etcd.start()
        self._etcd.wait_ready(lambda: _answers(f"{self._etcd_url}/health"), _ETCD_SECONDS)
        self._api_server = self._program("kube-apiserver", self._api_server_arguments())
        self.start_api_server()
        self._manager = self._program("kube-controller-manager", self._manager_arguments())
        self._start_manager()

    def _start_manager(self) -> None:
        assert self._manager is not None
        self._manager.start()
        health = f"https://127.0.0.1:{self._manager_port}/healthz"
        self._manager.wait_ready(lambda: _answers(health), _CONTROLLER_MANAGER_SECONDS)

    def _program(self, name: str, arguments: Sequence[str]) -> Program:
        return Program([str(find_program(name)), *arguments], self.directory / f"{name}.log")

    def _etcd_arguments(self) -> list[str]:
        peer = f"http://127.0.0.1:{_free_port()}"
        return [
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        ]

    def _api_server_arguments(self) -> list[str]:
        here = self.directory
        return [
            f"--etcd-servers={self._etcd_url}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={here / 'apiserver.crt'}",
            f"--tls-private-key-file={here / 'apiserver.key'}",
            f"--client-ca-file={self.ca_path}",
            f"--service-account-key-file={here / 'service-account.key'}",
            f"--service-account-signing-key-file={here / 'service-account.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={','.join(SERVICE_CIDRS)}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            f"--kubelet-certificate-authority={self.ca_path}",
            f"--kubelet-client-certificate={here / 'kubelet-client.crt'}",
            f"--kubelet-client-key={here / 'kubelet-client.key'}",
            "--kubelet-preferred-address-types=ExternalDNS,InternalIP",
            # Without this gate the WebSocket of an exec reaches the kubelet as it is; with it, as
            # by default up to 1.35, the API server turns it into SPDY. Kubernetes' KEP-4006.
            "--feature-gates=TranslateStreamCloseWebsocketRequests=false",
            # No Endpoints of its own: the address of loopback is of no use to pods.
            "--endpoint-reconciler-type=none",
            "--max-requests-inflight=2000",
            "--max-mutating-requests-inflight=1000",
        ]

    def _manager_arguments(self) -> list[str]:
        here = self.directory
        return [
            f"--kubeconfig={here / 'controller-manager.kubeconfig'}",
            f"--authentication-kubeconfig={here / 'controller-manager.kubeconfig'}",
            f"--authorization-kubeconfig={here / 'controller-manager.kubeconfig'}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._manager_port}",
            f"--cert-dir={here / 'controller-manager'}",
            f"--root-ca-file={self.ca_path}",
            f"--service-account-private-key-file={here / 'service-account.key'}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            f"--controllers={','.join(_CONTROLLERS)}",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--concurrent-service-endpoint-syncs=20",
        ]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _write(stem: Path, pair: KeyPair) -> None:
    stem.with_suffix(".crt").write_bytes(pair.certificate)
    key = stem.with_suffix(".key")
    key.touch(mode=0o600)
    key.write_bytes(pair.key)


def _answers(url: str, ca: Path | None = None) -> bool:
    """Whether an HTTP server answers 200; without ``ca`` its certificate is not looked at."""
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    if ca is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _run(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ControlPlaneError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout
