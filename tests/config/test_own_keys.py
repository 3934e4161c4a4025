"""Keys that upstream does not have: they are read, documented, and not printed while they have their default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubeedge.config.cloudcore import CloudCore
from kubeedge.config.document import dump
from kubeedge.config.edgecore import EdgeCore
from kubeedge.config.section import decode, encode

DOCUMENTATION = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()

OWN = [
    (CloudCore, "kubeAPIConfig.installCRDs", True),
    (CloudCore, "modules.cloudHub.workers", 2),
    (CloudCore, "modules.cloudHub.https.requireNodeCertificate", True),
    (EdgeCore, "modules.edgeHub.bootstrapFile", "/tmp/token"),
    (EdgeCore, "modules.deviceTwin.dmiRequestsPerSecond", 50),
    (EdgeCore, "modules.deviceTwin.dmiRequestBurst", 100),
]


@pytest.mark.parametrize(("make", "key", "value"), OWN)
def test_own_key_is_read_and_documented_and_quiet(make: Any, key: str, value: Any) -> None:
    document: Any = value
    for name in reversed(key.split(".")):
        document = {name: document}
    config, errors, warnings = decode(make(), document)
    assert (errors, warnings) == ([], [])
    assert config != make()
    name = key.rpartition(".")[2]
    assert name in dump(encode(config))
    assert name not in dump(encode(make()))
    assert f"`{key}`" in DOCUMENTATION
