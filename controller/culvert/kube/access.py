"""How to reach the API and who we are there: kubeconfig or service account, TLS, proxy, token.

Reading both is the Kubernetes client library's work, exec plugins and their like included. What it
loads once, such as a kubeconfig's token file or a CA, is loaded again by ``renew`` when the server
no longer takes it.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import load_incluster_config
from kubernetes.aio.config.kube_config import load_kube_config

from culvert.kube.errors import AccessError

_READ_ERRORS = (ConfigException, OSError, ValueError, TypeError, AttributeError, yaml.YAMLError)
"""What the library raises on files that are missing or not what they should be."""


class Access:
    """The current answer to: which server, which trust, which proxy, which credentials."""

    def __init__(self, load: Callable[[], Awaitable[Configuration]]) -> None:
        self._load = load
        self._configuration: Configuration | None = None
        self._ssl: ssl.SSLContext | None = None

    async def renew(self) -> None:
        """Read everything anew.

        Raises:
            AccessError: it cannot be read; what was read last stays in use.
        """
        configuration = await self._load()
        try:
            context: ssl.SSLContext = RESTClientObject(configuration).ssl_context
        except OSError as error:
            raise AccessError(
                f"the CA or client certificate for {configuration.host} cannot be read: {error}; "
                "correct the files or data the kubeconfig names"
            ) from error
        # OpenSSL 3.x under Python 3.13 asks for extensions that clusters' own CAs may lack.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._configuration, self._ssl = configuration, context

    @property
    def server(self) -> str:
        """URL of the API server, without a slash at its end."""
        return str(self._loaded.host).rstrip("/")

    async def headers(self) -> dict[str, str]:
        """The header that says who we are; a rotated service account token is read anew.

        Raises:
            AccessError: the token's file has gone.
        """
        try:
            token = await self._loaded.get_api_key_with_prefix("BearerToken")
        except _READ_ERRORS as error:
            raise AccessError(f"the service account's token cannot be read: {error}") from error
        return {"Authorization": str(token).strip()} if token else {}

    def connection(self) -> Mapping[str, Any]:
        """Arguments of an aiohttp request: TLS, proxy and the name expected of the server."""
        loaded = self._loaded
        arguments = {
            "ssl": self._ssl,
            "proxy": loaded.proxy,
            "proxy_headers": loaded.proxy_headers,
            "server_hostname": loaded.tls_server_name,
        }
        return {name: value for name, value in arguments.items() if value}

    @property
    def _loaded(self) -> Configuration:
        assert self._configuration is not None, "renew() first"
        return self._configuration


def kubeconfig_access(path: Path | None) -> Access:
    """By a kubeconfig's current context; None means ``$KUBECONFIG`` or ``~/.kube/config``."""

    async def load() -> Configuration:
        where = str(path) if path else os.environ.get("KUBECONFIG") or "~/.kube/config"
        if not _some_is_file(where):
            raise AccessError(f"there is no kubeconfig at {where}; name one that exists")
        configuration = Configuration()
        try:
            await load_kube_config(where, client_configuration=configuration, persist_config=False)
        except _READ_ERRORS as error:
            raise AccessError(f"kubeconfig {where} cannot be used: {error}; correct it") from error
        return configuration

    return Access(load)


def in_cluster_access() -> Access:
    """By the pod's service account."""

    async def load() -> Configuration:
        configuration = Configuration()
        try:
            load_incluster_config(client_configuration=configuration)
        except _READ_ERRORS as error:
            raise AccessError(
                f"no service account to reach the API with: {error}; run in a pod that mounts "
                "its service account's token, or name a kubeconfig"
            ) from error
        return configuration

    return Access(load)


def default_access(path: Path | None) -> Access:
    """A named kubeconfig, or ``$KUBECONFIG``, or the service account, or the user's kubeconfig."""
    if path is None and "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ:
        return in_cluster_access()
    return kubeconfig_access(path)


def _some_is_file(paths: str) -> bool:
    """Whether any file of a ``$KUBECONFIG``, which may list several, is there."""
    return any(Path(one).expanduser().is_file() for one in paths.split(os.pathsep) if one)
