"""What tests of several folders share."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from hypothesis import settings

if TYPE_CHECKING:
    from tests.containerd import Containerd
    from tests.sites import Site


# A run of CI judges a change, so it tries the same examples each time; on a desk every run looks for new ones.
settings.register_profile("ci", derandomize=True, database=None)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A cloud with one Ready node that every test of the process may use, and must leave as it was."""
    from tests.sites import Site

    site = Site(tmp_path_factory.mktemp("site"))
    try:
        await site.start()
        yield site
        site.check_running()
    finally:
        await site.clean_up()


@pytest.fixture(scope="session")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """A containerd that every test of the process may use; no pod may be left on it."""
    from tests.containerd import Containerd, RigError

    containerd = Containerd(tmp_path_factory.mktemp("containerd"))
    try:
        containerd.prepare()
    except RigError as error:
        containerd.clean_up()
        pytest.fail(f"no containerd to test with: {error}")
    yield containerd
    containerd.clean_up()
