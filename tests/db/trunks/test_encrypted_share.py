"""The share of encrypted calls: a number a day, whatever phones and workers start anew."""

from __future__ import annotations

from datetime import timedelta

from tests.db.trunks.conftest import NOW
from tests.factories import House

from nightbell.line.encrypted_share import Counting, Share, add, share
from nightbell.store.models import Flag


def phone(encrypted: int, plain: int = 0, pid: int = 7, uptime: float = 1000.0) -> dict[str, object]:
    counts = {"calls_encrypted": encrypted, "calls_plain": plain}
    return {"sip": counts, "pid": pid, "uptime": uptime, "age_s": 0.0}


def counted(*looks: list[dict[str, object]]) -> list[tuple[int, int]]:
    """What a worker that looks every minute counts."""
    counting = Counting()
    return [counting.since_last(phones, 60.0 * at) for at, phones in enumerate(looks)]


def test_counters_become_what_came_since() -> None:
    assert counted(
        [], [phone(5, uptime=1000)], [phone(7, 1, uptime=1060)], [{}], [phone(7, 1, uptime=1180.4)],
        [phone(2, uptime=30)], [phone(2, uptime=90), phone(1, 4, pid=8, uptime=20)],
    ) == [(0, 0), (0, 0), (2, 1), (0, 0), (0, 0), (2, 0), (1, 4)]  # fmt: skip


def test_of_two_phones_one_that_comes_and_goes_adds_nothing_of_the_others() -> None:
    """While one phone takes over from another, both are there, and either may lose its connection for a while."""
    old, new = phone(0, 10_000, uptime=1000), phone(5, 0, pid=8, uptime=1000)
    later, newer = phone(1, 10_000, uptime=1120), phone(6, 0, pid=8, uptime=1180)
    assert counted([old, new], [new | {"uptime": 1060}], [later], [newer]) == [(0, 0), (0, 0), (1, 0), (1, 0)]
    apart = [phone(3, uptime=100.0), phone(40, uptime=5000.0)]  # in containers both may have the same number
    assert counted(apart, [one | {"uptime": 60.0 + float(str(one["uptime"]))} for one in reversed(apart)]) == [
        (0, 0), (0, 0),
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
