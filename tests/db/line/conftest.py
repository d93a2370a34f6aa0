"""What the tests of the line leave as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nightbell.core.config import load


@pytest.fixture(autouse=True)
def _unstamped() -> Iterator[None]:
    """A home that a worker's test stamped is no demo for the tests of pages that come after it."""
    stamp = load().home / "home.json"
    there = stamp.exists()
    yield
    if not there:
        stamp.unlink(missing_ok=True)
