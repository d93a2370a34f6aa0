"""Who decides about trunks in these tests, and a trunk that registers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.factories import House

from nightbell.line import trunks
from nightbell.line.trunk_rules import Given
from nightbell.people.installation import By

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
PASSWORD = "s3cret-of-the-trunk"
REGISTER = Given("Carrier", "register", domain="sip.carrier.example", user="acme1", password=PASSWORD)
PLAIN = Given("Old box", "address", transport="udp", sources="203.0.113.7, 198.51.100.0/24")
WHY = "The old box speaks no TLS; it stands in our own rack, on a cable of its own."


def by(now: datetime = NOW) -> By:
    return By("os:root", now)


@pytest.fixture
def registering(house: House) -> str:
    return trunks.add(by(), REGISTER)


@pytest.fixture
def plain(house: House) -> str:
    return trunks.add(by(), PLAIN)
