"""A calendar file at its greatest: one number for all that is counted, told to whoever meets it, and work that stays small."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from tests.factories import House

from nightbell.oncall import ical_import
from nightbell.oncall.errors import BadCalendar
from nightbell.oncall.ical_import import Stretch
from nightbell.oncall.ical_read import Entry, read
from nightbell.people.models import User
from nightbell.people.roles import Role

NOW = datetime(2026, 11, 23, 17, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PEOPLE = [User(login=login) for login in "ab"]


def written(*events: str) -> bytes:
    whole = "\n".join(f"BEGIN:VEVENT\nUID:{n}\n{event}\nEND:VEVENT" for n, event in enumerate(events))
    return f"BEGIN:VCALENDAR\nVERSION:2.0\n{whole}\nEND:VCALENDAR\n".replace("\n", "\r\n").encode()


def times(count: int, every: timedelta, after: timedelta = timedelta()) -> str:
    return ",".join(f"{NOW + after + n * every:%Y%m%dT%H%M%SZ}" for n in range(count))


def minutes(count: int) -> str:
    """So many minutes, twenty apart."""
    first = f"{NOW + MINUTE:%Y%m%dT%H%M%SZ}"
    return f"SUMMARY:Front_Desk\nDTSTART:{first}\nDURATION:PT1M\nRDATE:{times(count, 20 * MINUTE, MINUTE)}"


LONG = f"SUMMARY:Clinician\nDTSTART:{NOW:%Y%m%dT%H%M%SZ}\nDURATION:P31D"


@pytest.mark.parametrize(
    "data",
    [
        written(*["DTSTART:20261201T000000Z\nDURATION:PT1H"] * 2001),
        written(minutes(2001)),
        written(LONG, minutes(1500)),  # cuts one into 1,501
    ],
)
def test_whatever_is_too_much_is_told_by_the_same_number(house: House, data: bytes) -> None:
    for role, name in ((Role.FRONT_DESK, "Ann Front_Desk"), (Role.CLINICIAN, "Bob Clinician")):
        User.objects.filter(pk=house.people[role].pk).update(name=name)
    with pytest.raises(BadCalendar, match="over 2,000"):
        ical_import.preview(house.actor(Role.MANAGER, NOW), data)


def test_as_much_as_may_be_is_shown(house: House) -> None:
    shown = ical_import.preview(house.actor(Role.MANAGER, NOW), written(minutes(2000)))
    assert len(shown.stretches) == 2000


def test_a_left_out_time_counts_however_many_stand_before_it() -> None:
    left_out = times(6000, -24 * 60 * MINUTE, -24 * 60 * MINUTE) + f",{NOW + 24 * 60 * MINUTE:%Y%m%dT%H%M%SZ}"
    night = f"DTSTART:{NOW:%Y%m%dT%H%M%SZ}\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=3\nEXDATE:{left_out}"
    found = read(written(night), ZoneInfo("UTC"), NOW)
    assert [one.starts_at for one in found] == [NOW, NOW + 48 * 60 * MINUTE]


class Counted(datetime):
    """An instant that counts how often one is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return super().__eq__(other)

    def __lt__(self, other: datetime) -> bool:
        Counted.compared += 1
        return super().__lt__(other)

    def __le__(self, other: datetime) -> bool:
        Counted.compared += 1
        return super().__le__(other)

    def __gt__(self, other: datetime) -> bool:
        Counted.compared += 1
        return super().__gt__(other)

    def __ge__(self, other: datetime) -> bool:
        Counted.compared += 1
        return super().__ge__(other)

    __hash__ = datetime.__hash__


def counted(at: datetime) -> Counted:
    return Counted(at.year, at.month, at.day, at.hour, at.minute, at.second, tzinfo=UTC)


@pytest.mark.parametrize("length", [10, 30, 20_000])  # apart, each over the next, and all over all
def test_two_thousand_entries_are_taken_apart_by_few_comparisons(length: int) -> None:
    starts = [NOW + 20 * n * MINUTE for n in range(2000)]
    random.Random(3).shuffle(starts)
    entries = [
        (PEOPLE[n % 2], Entry("x", (), counted(at), counted(at + length * MINUTE)))
        for n, at in enumerate(starts)
    ]
    Counted.compared = 0
    assert len(ical_import._apart(entries, counted(NOW))) in (2000, 2001)
    assert Counted.compared < 60 * 2000


def minute_by_minute(entries: Sequence[tuple[User | None, Entry]]) -> dict[datetime, User]:
    """The rule as it is written: of two the one that begins later, or ends sooner; of the same, the last."""
    found: dict[datetime, User] = {}
    numbered = [
        (e.starts_at, -e.ends_at.timestamp(), n, user, e) for n, (user, e) in enumerate(entries) if user
    ]
    for _, _, _, user, entry in sorted(numbered, key=lambda one: one[:3]):
        at = max(entry.starts_at, NOW)
        while at < entry.ends_at:
            found[at] = cast("User", user)
            at += MINUTE
    return found


def said(found: Sequence[Stretch]) -> dict[datetime, Any]:
    told: dict[datetime, Any] = {}
    for one in found:
        at = one.starts_at
        while one.user and at < one.ends_at:
            assert at not in told, "twice"
            told[at] = one.user
            at += MINUTE
    return told


def test_random_files_are_taken_apart_as_the_rule_says() -> None:
    dice = random.Random(11)
    for _ in range(300):
        entries: list[tuple[User | None, Entry]] = []
        for _ in range(dice.randint(1, 9)):
            start = NOW + dice.randint(-10, 40) * MINUTE
            end = max(start, NOW) + dice.randint(1, 25) * MINUTE
            entries.append((dice.choice([*PEOPLE, None]), Entry("x", (), start, end)))
        found = ical_import._apart(entries, NOW)
        assert said(found) == minute_by_minute(entries)
        assert sum(one.user is None for one in found) == sum(user is None for user, _ in entries)
