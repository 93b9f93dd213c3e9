"""What the embedded kubelet understands of a pod; decoding is pure.

Images cannot be pulled here: a container is its ``command`` and ``args``, run as local programs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from culvert.rig.field import Field

DEFAULT_GRACE_SECONDS = 30

_IGNORED_POD_FIELDS = ("initContainers", "ephemeralContainers", "volumes")
_IGNORED_CONTAINER_FIELDS = ("envFrom", "volumeMounts", "startupProbe")


@dataclass(frozen=True, slots=True)
class HttpGet:
    """Ready when the answer's status is 200 to 399."""

    port: int
    path: str
    headers: tuple[tuple[str, str], ...]
    host: str = ""
    """Instead of the pod's address."""
    tls: bool = False
    """By HTTPS; as the kubelet does, without a look at the certificate."""


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """Ready when the port takes a connection."""

    port: int
    host: str = ""
    """Instead of the pod's address."""


@dataclass(frozen=True, slots=True)
class Exec:
    """Ready when the command, run in the container, ends with status 0."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sleep:
    """Of a preStop hook: wait."""

    seconds: int


ProbeAction = HttpGet | TcpSocket | Exec


@dataclass(frozen=True, slots=True)
class Probe:
    """A readiness or liveness probe; times in seconds."""

    action: ProbeAction
    initial_delay_seconds: int
    period_seconds: int
    timeout_seconds: int
    success_threshold: int
    failure_threshold: int


@dataclass(frozen=True, slots=True)
class EnvVar:
    """A variable: a text in which ``$(NAME)`` is expanded, or a field of the pod."""

    name: str
    value: str
    field_path: str | None
    source: Mapping[str, Any] | None = None
    """``valueFrom`` as written, when it names something outside of the pod."""


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """A port a container says it listens on."""

    name: str
    port: int
    protocol: str


@dataclass(frozen=True, slots=True)
class Container:
    """A container: one process tree."""

    name: str
    command: tuple[str, ...]
    """Command and arguments, before expansion; never empty."""
    env: tuple[EnvVar, ...]
    working_directory: str
    ports: tuple[ContainerPort, ...]
    readiness: Probe | None
    liveness: Probe | None
    pre_stop: Exec | Sleep | None
    startup: Probe | None = None
    image: str = ""
    restarts_always: bool = False
    """Of an init container: it runs beside those that follow (a sidecar, KEP-753)."""


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A pod that can be run, as many times as wanted.

    ``metadata`` (labels and annotations) and ``spec`` are as written, for publishing.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Mapping[str, Any]
    containers: tuple[Container, ...]
    node_name: str
    node_selector: Mapping[str, str]
    restart_policy: str
    grace_seconds: int
    service_links: bool
    service_account: str
    revision: str
    """A digest: equal templates have equal revisions, whatever the order of their fields."""
    init_containers: tuple[Container, ...] = ()
    host_network: bool = False

    def named_port(self, name: str, protocol: str) -> int | None:
        """Return the number of a port that a container has named."""
        for container in self.containers:
            for port in container.ports:
                if port.name == name and port.protocol == protocol:
                    return port.port
        return None


def decode_template(
    metadata: Field, spec: Field, ignored: Callable[[Field], None], *, whole: bool = False
) -> PodTemplate:
    """Decode ``metadata`` and ``spec`` of a Pod or of a pod template.

    ``ignored`` is called with each field that is there and has no effect. ``whole`` also takes
    what only a pod of an API server can have: init containers, startup probes, the node's network,
    variables from ConfigMaps and Secrets.

    Raises:
        InvalidFieldError: the pod cannot be run.
    """
    host_network = spec.get("hostNetwork").flag(default=False)
    if host_network and not whole:
        raise spec.get("hostNetwork").invalid(
            "is true, but pods of the demo have a network of their own", "remove it"
        )
    for name in () if whole else _IGNORED_POD_FIELDS:
        if spec.get(name).value:
            ignored(spec.get(name))
    containers = _containers(spec.get("containers"), ignored, whole=whole)
    init = _containers(spec.get("initContainers"), ignored, whole=True) if whole else ()
    if not containers:
        raise spec.get("containers").invalid("is empty", "add a container with a command")
    _refuse_repeats(spec.get("containers"), [c.name for c in containers])
    labels = metadata.get("labels").text_map()
    annotations = metadata.get("annotations").text_map()
    canonical = json.dumps([labels, annotations, spec.value], sort_keys=True, default=str)
    return PodTemplate(
        labels=labels,
        annotations=annotations,
        spec=spec.value,
        containers=containers,
        node_name=spec.get("nodeName").text(""),
        node_selector=spec.get("nodeSelector").text_map(),
        restart_policy=spec.get("restartPolicy").choice("Always", "Always", "OnFailure", "Never"),
        grace_seconds=spec.get("terminationGracePeriodSeconds").number(DEFAULT_GRACE_SECONDS),
        service_links=spec.get("enableServiceLinks").flag(default=True),
        service_account=spec.get("serviceAccountName").text("default"),
        revision=sha256(canonical.encode()).hexdigest()[:10],
        init_containers=init,
        host_network=host_network,
    )


def _containers(
    field: Field, ignored: Callable[[Field], None], *, whole: bool
) -> tuple[Container, ...]:
    return tuple(_container(item, ignored, whole=whole) for item in field.items())


def _container(field: Field, ignored: Callable[[Field], None], *, whole: bool) -> Container:
    name = field.get("name").text()
    if not name or "/" in name or name.startswith("."):
        raise field.get("name").invalid(f"is {name!r}", "use letters, digits and '-'")
    for ignored_name in () if whole else _IGNORED_CONTAINER_FIELDS:
        if field.get(ignored_name).value:
            ignored(field.get(ignored_name))
    command = field.get("command").texts()
    if not command:
        raise field.get("command").invalid(
            "is missing, and images cannot be pulled here", "name a local program to run"
        )
    ports = tuple(_port(item) for item in field.get("ports").items())
    return Container(
        name=name,
        command=command + field.get("args").texts(),
        env=tuple(_env(item, whole=whole) for item in field.get("env").items()),
        working_directory=field.get("workingDir").text("/"),
        ports=ports,
        readiness=_probe(field.get("readinessProbe"), ports, ignored),
        liveness=_probe(field.get("livenessProbe"), ports, ignored),
        pre_stop=_pre_stop(field.get("lifecycle").get("preStop"), ignored),
        startup=_probe(field.get("startupProbe"), ports, ignored) if whole else None,
        image=field.get("image").text(""),
        restarts_always=field.get("restartPolicy").text("") == "Always",
    )


def _port(field: Field) -> ContainerPort:
    return ContainerPort(
        name=field.get("name").text(""),
        port=field.get("containerPort").number(low=1, high=65535),
        protocol=field.get("protocol").choice("TCP", "TCP", "UDP", "SCTP"),
    )


def _env(field: Field, *, whole: bool) -> EnvVar:
    source = field.get("valueFrom")
    path = source.get("fieldRef").get("fieldPath")
    if source and not path and not whole:
        raise source.invalid("is not a fieldRef", "use value or valueFrom.fieldRef")
    return EnvVar(
        name=field.get("name").text(),
        value=field.get("value").text(""),
        field_path=path.text() if path else None,
        source=source.value if source and not path else None,
    )


def _probe(
    field: Field, ports: tuple[ContainerPort, ...], ignored: Callable[[Field], None]
) -> Probe | None:
    if not field:
        return None
    action: ProbeAction
    if field.get("httpGet"):
        http = field.get("httpGet")
        action = HttpGet(
            port=_probe_port(http.get("port"), ports),
            path=http.get("path").text("/"),
            headers=tuple(
                (header.get("name").text(), header.get("value").text())
                for header in http.get("httpHeaders").items()
            ),
            host=http.get("host").text(""),
            tls=http.get("scheme").choice("HTTP", "HTTP", "HTTPS") == "HTTPS",
        )
    elif field.get("tcpSocket"):
        tcp = field.get("tcpSocket")
        action = TcpSocket(_probe_port(tcp.get("port"), ports), tcp.get("host").text(""))
    elif field.get("exec"):
        action = Exec(_command(field.get("exec")))
    else:
        ignored(field)
        return None
    return Probe(
        action=action,
        initial_delay_seconds=field.get("initialDelaySeconds").number(0),
        period_seconds=field.get("periodSeconds").number(10, low=1),
        timeout_seconds=field.get("timeoutSeconds").number(1, low=1),
        success_threshold=field.get("successThreshold").number(1, low=1),
        failure_threshold=field.get("failureThreshold").number(3, low=1),
    )


def _probe_port(field: Field, ports: tuple[ContainerPort, ...]) -> int:
    if not isinstance(field.value, str):
        return field.number(low=1, high=65535)
    for port in ports:
        if port.name == field.value:
            return port.port
    raise field.invalid(f"names no port of the container: {field.value!r}", "name one, or a number")


def _command(field: Field) -> tuple[str, ...]:
    command = field.get("command").texts()
    if not command:
        raise field.get("command").invalid("is missing", "add it")
    return command


def _pre_stop(field: Field, ignored: Callable[[Field], None]) -> Exec | Sleep | None:
    if field.get("exec"):
        return Exec(_command(field.get("exec")))
    if field.get("sleep"):
        return Sleep(field.get("sleep").get("seconds").number())
    if field:
        ignored(field)
    return None


def _refuse_repeats(field: Field, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise field.invalid(f"has two containers called {name!r}", "rename one")
