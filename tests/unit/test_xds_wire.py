"""Bytes and values of the delta protocol, against the generated protobuf classes."""

from __future__ import annotations

import pytest
from culvert.model.desired import Resource
from culvert.xds.exchange import DeltaRequest, DeltaResponse
from culvert.xds.wire import decode_request, encode_response
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(max_size=300)
RESOURCES = st.builds(Resource, TEXT, TEXT, TEXT, st.binary(max_size=40_000))


@given(
    st.builds(
        DeltaResponse,
        TEXT,
        TEXT,
        st.lists(RESOURCES, max_size=4).map(tuple),
        st.lists(TEXT.filter(bool), max_size=4).map(tuple),
        TEXT,
    )
)
def test_response_reads_back_as_what_was_meant(response: DeltaResponse) -> None:
    message = discovery_pb2.DeltaDiscoveryResponse.FromString(encode_response(response))
    assert message.type_url == response.type_url
    assert message.nonce == response.nonce
    assert message.system_version_info == response.system_version
    assert tuple(message.removed_resources) == response.removed
    assert [
        (one.resource.type_url, one.name, one.version, one.resource.value)
        for one in message.resources
    ] == [(one.type_url, one.name, one.version, one.body) for one in response.resources]


def test_request_is_read_in_full() -> None:
    message = discovery_pb2.DeltaDiscoveryRequest(
        type_url="t",
        resource_names_subscribe=["a"],
        resource_names_unsubscribe=["b"],
        initial_resource_versions={"c": "1"},
        response_nonce="5",
    )
    message.node.id = "n"
    message.error_detail.message = "no"
    received = decode_request(message.SerializeToString())
    assert received.node_id == "n"
    assert received.request == DeltaRequest("t", ("a",), ("b",), {"c": "1"}, "5", "no")


def test_rejection_without_words_is_still_a_rejection() -> None:
    message = discovery_pb2.DeltaDiscoveryRequest(type_url="t", response_nonce="5")
    message.error_detail.code = 13
    assert decode_request(message.SerializeToString()).request.error == "status code 13"


def test_request_without_error_detail_is_no_rejection() -> None:
    message = discovery_pb2.DeltaDiscoveryRequest(type_url="t", response_nonce="5")
    assert decode_request(message.SerializeToString()).request.error is None


def test_garbage_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode_request(b"\xff\xff\xff")
