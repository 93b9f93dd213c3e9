"""What a listener finds out about a connection before its filters run: where to, and from whom."""

from __future__ import annotations

from envoy.config.listener.v3.listener_components_pb2 import ListenerFilter
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.listener.original_src.v3.original_src_pb2 import OriginalSrc

from culvert.compile.packing import pack


def original_addresses(*, keeps_client: bool) -> tuple[ListenerFilter, ...]:
    """The filter that restores the destination.

    Where ``keeps_client``, also the one that has connections to pods made from the client's address
    (Envoy, "Original Source"), of which the kernel makes what the pod is shown
    (``bpf/sock_addr/bind.c``). Envoy pools connections by that address: clients share none.
    """
    destination = ListenerFilter(
        name="envoy.filters.listener.original_dst", typed_config=pack(OriginalDst())
    )
    if not keeps_client:
        return (destination,)
    source = ListenerFilter(
        name="envoy.filters.listener.original_src", typed_config=pack(OriginalSrc())
    )
    return destination, source
