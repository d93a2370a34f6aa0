"""The share of encrypted calls: a number a day, whatever phones and workers start anew."""

from __future__ import annotations

from datetime import timedelta

from tests.db.trunks.conftest import NOW
from tests.factories import House

from nightbell.line.encrypted_share import Counting, Share, add, share
from nightbell.store.models import Flag


def phone(encrypted: int, plain: int = 0) -> dict[str, object]:
    return {"sip": {"calls_encrypted": encrypted, "calls_plain": plain}}


def test_counters_become_what_came_since() -> None:
    counting = Counting()
    looks = [[], [phone(5)], [phone(7, 1)], [{}], [phone(7, 1)], [phone(2)], [phone(2), phone(1, 4)]]
    assert [counting.since_last(one) for one in looks] == [
        (0, 0), (0, 0), (2, 1), (0, 0), (0, 0), (2, 0), (1, 4),
    ]  # fmt: skip


def test_thirty_days_are_added_up(house: House) -> None:
    assert share(NOW) == Share() and share(NOW).percent is None
    for days, encrypted, plain in ((31, 50, 50), (29, 1, 0), (1, 97, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)):
        add(encrypted, plain, NOW - timedelta(days=days))
    assert share(NOW) == Share(99, 1, "2026-10-29")
    assert share(NOW).percent == 99
    assert share(NOW + timedelta(days=1)) == Share(98, 1, "2026-11-26")
    assert Share(999, 1).percent == 99, "100 only when all were"


def test_old_days_go(house: House) -> None:
    add(1, 0, NOW)
    add(1, 0, NOW + timedelta(days=401))
    assert Flag.objects.filter(name__startswith="calls-by-sound:").count() == 1
