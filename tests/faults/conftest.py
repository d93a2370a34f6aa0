"""One installation for the tests that leave it whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.stack import Stack, running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Modules that need a home of their own have a fixture of the same name."""
    with running(tmp_path_factory.mktemp("besieged")) as stack:
        yield stack
