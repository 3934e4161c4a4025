"""The checked-in modules are those of the definitions beside them."""

from __future__ import annotations

import importlib
from importlib.resources import files
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).parents[2]
DEFINITIONS = sorted(path.name for path in (ROOT / "kubeedge" / "proto").glob("*.proto"))


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_module_is_made_from_the_definition_beside_it(definition: str, tmp_path: Path) -> None:
    made = tmp_path / "set"
    include = str(files("grpc_tools").joinpath("_proto"))
    words = ["protoc", f"-I{ROOT}", f"-I{include}", f"--descriptor_set_out={made}", f"kubeedge/proto/{definition}"]
    assert protoc.main(words) == 0
    (wanted,) = FileDescriptorSet.FromString(made.read_bytes()).file
    module = importlib.import_module(f"kubeedge.proto.{definition.removesuffix('.proto')}_pb2")
    found = FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    assert found.name == wanted.name
    assert _plain(found) == _plain(wanted)


def _plain(file: FileDescriptorProto) -> FileDescriptorProto:
    """Leave out what only one of both has: names that are made from others."""
    copy = FileDescriptorProto.FromString(file.SerializeToString())
    messages = list(copy.message_type)
    while messages:
        message = messages.pop()
        messages.extend(message.nested_type)
        for field in message.field:
            field.ClearField("json_name")
    return copy
