from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.apiserver.protobuf import MAGIC, ProtobufError, read


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def body(api_version: str, kind: str, message: bytes) -> bytes:
    return MAGIC + field(1, field(1, api_version) + field(2, kind)) + field(2, message)


def test_metadata_maps_and_bytes_are_read() -> None:
    labels = field(11, field(1, "app") + field(2, "web"))
    message = field(1, field(1, "s") + labels + field(8, b"")) + field(2, field(1, "user") + field(2, b"\x00u"))
    assert read(body("v1", "Secret", message)) == {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": "s", "labels": {"app": "web"}},
        "data": {"user": "AHU="},
    }


def test_embedded_structs_quantities_and_times_stand_where_json_has_them() -> None:
    volume = field(1, "v") + field(2, field(2, field(2, field(1, "1Gi"))))
    probe = field(1, field(2, field(1, "/") + field(2, field(1, 0) + field(2, 80)))) + field(2, -1)
    container = field(1, "c") + field(10, probe)
    metadata = field(1, "p") + field(8, field(1, 1767225600))
    message = field(1, metadata) + field(2, field(1, volume) + field(2, container))
    assert read(body("v1", "Pod", message)) == {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}],
            "containers": [
                {
                    "name": "c",
                    "livenessProbe": {"httpGet": {"path": "/", "port": 80}, "initialDelaySeconds": -1},
                }
            ],
        },
    }


def test_delete_options_are_read() -> None:
    message = field(1, 0) + field(2, field(1, "uid")) + field(4, "Background") + field(5, "All")
    assert read(body("v1", "DeleteOptions", message)) == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "uid"},
        "propagationPolicy": "Background",
        "dryRun": ["All"],
    }


def test_fields_of_a_newer_client_are_left_out() -> None:
    assert read(body("v1", "ConfigMap", field(99, "new") + field(98, 5)))["kind"] == "ConfigMap"


@pytest.mark.parametrize("data", [b"", b"{}", MAGIC, MAGIC + b"\x0a", body("v1", "Nothing", b""), MAGIC + b"\xff" * 20])
def test_what_is_no_such_body_is_refused(data: bytes) -> None:
    with pytest.raises(ProtobufError):
        read(data)


def test_number_that_is_no_time_is_refused() -> None:
    with pytest.raises(ProtobufError):
        read(body("v1", "Pod", field(1, field(8, field(1, 1 << 62)))))


@given(st.binary(max_size=60), st.sampled_from(["Pod", "Secret", "Service", "DeleteOptions", "Event"]))
def test_garbage_is_read_or_refused(data: bytes, kind: str) -> None:
    for text in (MAGIC + data, body("v1", kind, data)):
        try:
            result: dict[str, Any] = read(text)
        except ProtobufError:
            continue
        assert isinstance(result, dict)
