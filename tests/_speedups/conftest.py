"""Every test that takes `speedups` runs on each build that is there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests._speedups.builds import BUILDS


@pytest.fixture(params=BUILDS, ids=lambda build: build.build)
def speedups(request: pytest.FixtureRequest) -> SimpleNamespace:
    return request.param
