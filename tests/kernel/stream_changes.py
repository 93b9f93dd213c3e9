"""Changes a node's data path under the traffic: the configuration at random, the programs anew."""

from __future__ import annotations

import random
import socket
import threading
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from culvert.embedded.mesh_node import MeshNode
from culvert.model.redirect import Address16, ProxyListener, RedirectConfig
from culvert.redirect import abi
from culvert.redirect.attach import attach, attach_sk_msg, hooks
from culvert.redirect.encode import CONFIG, encode_config
from culvert.redirect.kernel import KernelMaps
from culvert.redirect.plan import Put
from culvert.rig.cgroup import find_mount

_SLOT_ZERO = bytes(4)


def maps_of(node: MeshNode) -> Path:
    """Where a node's agent has its maps pinned."""
    (found,) = node.pins.glob("maps-*")
    return found


def decode_config(value: bytes) -> RedirectConfig:
    """The inverse of ``encode_config``."""
    raw = abi.Config.from_buffer_copy(value)
    return RedirectConfig(
        proxy4=_address(bytes(raw.proxy4)),
        proxy6=_address(bytes(raw.proxy6)),
        listener_ports={
            listener: socket.ntohs(raw.listener_port_be[listener])
            for listener in ProxyListener
            if listener is not ProxyListener.DIRECT
        },
        accelerate=bool(raw.flags & abi.ConfigFlag.ACCELERATE),
        budget_bytes=raw.budget_bytes,
        max_redirect_bytes=raw.max_redirect_bytes,
        pod_levels=(raw.pod_level_min, raw.pod_level_max),
    )


def _address(packed: bytes) -> Address16 | None:
    return Address16(packed) if any(packed) else None


class Changes:
    """A thread that changes things every few milliseconds, for as long as the ``with`` block.

    On leaving, the configuration is what it was; what ended the thread before its time is raised.
    Without a seed nothing is changed.
    """

    def __init__(self, node: MeshNode, maps: KernelMaps, seed: int | None) -> None:
        self.made = 0
        self._node = node
        self._maps = maps
        self._usual = decode_config(maps.read()[CONFIG][_SLOT_ZERO])
        self._random = random.Random(seed)
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = None if seed is None else threading.Thread(target=self._run, name="changes")

    def __enter__(self) -> Self:
        if self._thread is not None:
            assert self._usual.accelerate, "the agent has switched acceleration off"
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        self._write(self._usual)
        if self._error is not None and error is None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._ended.wait(self._random.uniform(0.001, 0.1)):
                if self._random.random() < 0.1:
                    self._replace_programs()
                else:
                    self._write(self._another_config())
                self.made += 1
        except BaseException as error:
            self._error = error

    def _another_config(self) -> RedirectConfig:
        choose = self._random.choice
        return replace(
            self._usual,
            accelerate=self._random.random() < 0.8,
            budget_bytes=choose((1, 4096, 65536, 1 << 20, 4 << 20)),
            max_redirect_bytes=choose((1, 512, 16384, 1 << 30, 1 << 30)),
        )

    def _write(self, config: RedirectConfig) -> None:
        self._maps.apply([Put(CONFIG, _SLOT_ZERO, encode_config(config))])

    def _replace_programs(self) -> None:
        pins, node = self._node.pins, self._node.node
        attach_sk_msg(pins / "programs", self._maps.directory)
        wanted = hooks(node.pods_cgroup, node.proxy_cgroup, find_mount())
        attach(pins / "programs", pins / "links", wanted)
