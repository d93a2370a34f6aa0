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


@pytest.fixture
def phone() -> Iterator[Phone]:
    phone = Phone()
    yield phone
    phone.socket.close()
