"""A media engine and a telephone that talks to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.phone.rtp_phone import Phone

from nightbell.phone.media import Media


@pytest.fixture
def media() -> Iterator[Media]:
    engine = Media("127.0.0.1", (36000, 37999), lambda act, *values: act(*values))
    engine.start()
    yield engine
    engine.close()


@pytest.fixture(autouse=True)
def _not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends from the beginning begins at 0: on a busy machine the first packet may come late all the same."""
    monkeypatch.setattr("nightbell.sip.rtp.AT_ONCE", 60.0)


@pytest.fixture
def phone() -> Iterator[Phone]:
    phone = Phone()
    yield phone
    phone.socket.close()
