"""Names of images that can be, and the words of runtimes for those that cannot."""

from __future__ import annotations

import pytest

from kubeedge.edgecore.edged.runtime.cri import names

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    "name",
    [
        "busybox",
        "busybox:1.36",
        "library/busybox:latest",
        "docker.io/library/busybox@" + DIGEST,
        "127.0.0.1:5000/a/b-c__d.e:V1_x",
        "localhost/x",
        "Registry.Example/x:1",
        "[fd00::1]:5000/x",
        DIGEST,
        "a" * 200 + ":1",
    ],
)
def test_name_that_can_be_is_let_through(name: str) -> None:
    assert names.problem(name) == ""


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Busybox:1", "invalid reference format: repository name (library/Busybox) must be lowercase"),
        ("quay.io/Org/app", "invalid reference format: repository name (Org/app) must be lowercase"),
        ("busybox:", "invalid reference format"),
        ("busy box", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a@sha256:12", "invalid reference format"),
        ("a:" + "t" * 129, "invalid reference format"),
        ("reg_istry.example/a", "invalid reference format"),
        ("", "invalid reference format"),
        ("0a" * 32, f"invalid repository name ({'0a' * 32}), cannot specify 64-byte hexadecimal strings"),
        ("a" * 250, "repository name must not be more than 255 characters"),
    ],
)
def test_name_that_cannot_be_is_refused_with_the_reason(name: str, why: str) -> None:
    assert names.problem(name) == f'couldn\'t parse image name "{name}": {why}'
