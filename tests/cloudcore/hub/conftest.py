"""What the tests of CloudHub share."""

from __future__ import annotations

import pytest

from tests.link.certificates import TestAuthority


@pytest.fixture(params=[1, 2], ids=["alone", "workers"])
def workers(request: pytest.FixtureRequest) -> int:
    """Whether the hub holds the connections itself: from outside it must be all the same."""
    number: int = request.param
    return number


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    return TestAuthority(tmp_path_factory.mktemp("pki"))
