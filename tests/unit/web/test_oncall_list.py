"""The calendar on a phone: what is the same is said once, and what must not be overlooked stands alone."""

from __future__ import annotations

from datetime import date, timedelta

from nightbell.mailbox.values import Person
from nightbell.web.oncall_page import ListDay, Part, folded

FRIDAY = date(2026, 11, 27)
PATEL, RIVERA = Person("P", "Dr Patel", "DP", 1), Person("R", "Dr Rivera", "DR", 2)


def part(
    who: Person | None, words: str = "all day", kind: str = "first", note: str = "", swap: str = "s"
) -> Part:
    return Part(who, who.name if who else "Nobody", kind, words, note, swap)


def days(*parts: tuple[Part, ...], today: int = -1, notes: dict[int, str] | None = None) -> list[ListDay]:
    found = []
    for at, given in enumerate(parts):
        day = FRIDAY + timedelta(days=at)
        found.append(ListDay(day, f"{day:%a} {day.day}", (notes or {}).get(at, ""), at == today, given))
    return found


def rows(found: list[ListDay]) -> list[tuple[str, str, int]]:
    return [(one.name, one.last, one.count) for one in folded(found)]


def test_equal_days_are_one_row_and_today_comes_first_and_alone() -> None:
    same = (part(PATEL),)
    assert rows(days(*[same] * 7)) == [("Fri 27 Nov", "Thu 3 Dec", 7)]
    assert rows(days(*[same] * 7, today=2)) == [("Sun 29", "", 1), ("Mon 30 Nov", "Thu 3 Dec", 4)]
    other = (part(RIVERA),)
    assert rows(days(same, same, other)) == [("Fri 27 Nov", "Sat 28 Nov", 2), ("Sun 29", "", 1)]


def test_gaps_changes_and_holidays_are_never_folded() -> None:
    gap, changed = (part(None, kind="gap"),), (part(PATEL, note="changed"),)
    for loud in (gap, changed):
        assert [count for _, _, count in rows(days(loud, loud, loud))] == [1, 1, 1]
    same = (part(PATEL),)
    assert [c for _, _, c in rows(days(same, same, same, same, notes={1: "Thanksgiving"}))] == [1, 1, 2]


def test_each_night_of_a_row_can_still_be_swapped_by_itself() -> None:
    nights = [
        (part(PATEL, "until 08:00", swap=f"{n}"), part(PATEL, "from 17:00", swap=f"{n + 1}"))
        for n in range(3)
    ]
    [row] = folded(days(*nights))
    assert [p.swap for p in row.parts] == ["", ""]
    assert [[p.swap for p in one.parts] for one in row.each] == [["0", "1"], ["1", "2"], ["2", "3"]]
    [whole] = folded(days(*[(part(PATEL),)] * 3))
    assert (whole.each, whole.parts[0].swap) == ((), "s")
