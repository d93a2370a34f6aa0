"""The calendar that leaves is read by others as we mean it; the one that comes in is read as others would, or refused."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
import pytest
import recurring_ical_events
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.oncall import oracle

from nightbell.oncall import ical, ical_read
from nightbell.oncall.errors import BadCalendar
from nightbell.oncall.ical_read import Entry, read
from nightbell.oncall.rules import Duty, Rota, WeeklyShift

NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2026, 10, 25, 12, tzinfo=UTC)
NAMES = {"ann": "Dr Anná Ñúñez; the first, of\\two", "bob": "Bob " + "ö" * 80, "cyd": "Cyd", "dee": "Dee 李"}


def _read_by_others(body: bytes, start: datetime, end: datetime) -> set[tuple[str, datetime, datetime]]:
    found = recurring_ical_events.of(icalendar.Calendar.from_ical(body)).between(start, end)
    return {
        (str(e["SUMMARY"]), e["DTSTART"].dt.astimezone(UTC), e["DTEND"].dt.astimezone(UTC)) for e in found
    }


def test_another_library_reads_the_same_duties_in_all_zones() -> None:
    dice = random.Random(5)
    for zone in oracle.ZONES:
        case = oracle.random_case(dice, ZoneInfo(zone))
        found = case.rota.duties(case.start, case.end)
        feed = ical.write(found, NAMES, "AB12", "en", case.start)
        said = {
            (f"{'Backup' if d.rank > 0 else 'On call'}: {NAMES[d.user]} (AB12)", d.starts_at, d.ends_at)
            for d in found
        }
        assert _read_by_others(feed.body, case.start, case.end) == said, zone
        for at in (case.start + timedelta(minutes=97 * n) for n in range(8)):
            people = {s.split(": ")[1].removesuffix(" (AB12)") for s, a, b in said if a <= at < b}
            there = oracle.who(case.rota, at) if at < case.end else {}
            assert at >= case.end or people == {NAMES[user] for users in there.values() for user in users}


def test_its_lines_are_as_the_standard_wants_them() -> None:
    dice = random.Random(6)
    cases = [oracle.random_case(dice, NEW_YORK) for _ in range(10)]
    found = [duty for case in cases for duty in case.rota.duties(case.start, case.end)]
    body = ical.write(found, NAMES, "AB12", "es", NOW).body
    assert body.endswith(b"\r\n") and b"\n" not in body.replace(b"\r\n", b"")
    lines = body.split(b"\r\n")
    assert max(len(line) for line in lines) <= 75
    assert all(line.decode() for line in lines[:-1])  # no character is cut in two
    assert "De guardia: Bob ööö".encode() in body
    assert "Ñúñez\\; the first\\, of\\\\two (AB12)".encode() in body.replace(b"\r\n ", b"")
    events = list(icalendar.Calendar.from_ical(body).walk("VEVENT"))
    assert events and len(events) == len(found)
    assert all(
        e[name].dt.utcoffset() == timedelta() for e in events for name in ("DTSTAMP", "DTSTART", "DTEND")
    )


def test_the_same_schedule_is_the_same_file_and_a_changed_one_has_another_tag() -> None:
    found = _some_duties()
    assert ical.write(found, NAMES, "AB12", "en", NOW) == ical.write(found, NAMES, "AB12", "en", NOW)
    changed = ical.write(found, NAMES | {found[0].user: "Eve"}, "AB12", "en", NOW)
    assert changed.etag != ical.write(found, NAMES, "AB12", "en", NOW).etag


@given(st.text())
def test_no_name_breaks_out_of_its_line(name: str) -> None:
    found = _some_duties()[:1]
    body = ical.write(found, {found[0].user: name}, "AB12", "en", NOW).body
    events = list(icalendar.Calendar.from_ical(body).walk("VEVENT"))
    assert len(events) == 1
    plain = "".join(c for c in name if c.isprintable() or c in " \n")
    assert str(events[0]["SUMMARY"]).removesuffix(" (AB12)").split(": ", 1)[1] == plain


def _some_duties() -> list[Duty]:
    week = [WeeklyShift(f"s{day}", "ann", day, 17 * 60, 15 * 60) for day in range(7)]
    return Rota(NEW_YORK, tuple(week)).duties(NOW, NOW + timedelta(days=9))


def _file(*events: str) -> bytes:
    parts = "".join(f"BEGIN:VEVENT\nUID:{n % 2}\n{event}\nEND:VEVENT\n" for n, event in enumerate(events))
    return f"BEGIN:VCALENDAR\nVERSION:2.0\n{parts}END:VCALENDAR\n".replace("\n", "\r\n").encode()


def _one(*events: str) -> list[tuple[datetime, datetime]]:
    return [
        (e.starts_at.astimezone(NEW_YORK), e.ends_at.astimezone(NEW_YORK))
        for e in read(_file(*events), NEW_YORK, NOW)
    ]


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


NIGHT = (
    "DTSTART;TZID=America/New_York:20261030T170000\nDTEND;TZID=America/New_York:20261031T080000\nSUMMARY:Dr A"
)


def test_a_repeated_night_keeps_its_times_on_the_wall_over_a_clock_change() -> None:
    nights = _one(f"{NIGHT}\nRRULE:FREQ=DAILY;COUNT=4\nEXDATE;TZID=America/New_York:20261102T170000")
    assert nights == [
        (_at("2026-10-30T17:00"), _at("2026-10-31T08:00")),
        (_at("2026-10-31T17:00"), _at("2026-11-01T08:00")),
        (_at("2026-11-01T17:00"), _at("2026-11-02T08:00")),
    ]
    long = nights[1][1].astimezone(UTC) - nights[1][0].astimezone(UTC)
    assert long == timedelta(hours=16)


@pytest.mark.parametrize(
    ("event", "start", "end"),
    [
        ("DTSTART:20261101T220000Z\nDTEND:20261102T130000Z", "2026-11-01T17:00", "2026-11-02T08:00"),
        ("DTSTART:20261102T170000\nDURATION:PT15H", "2026-11-02T17:00", "2026-11-03T08:00"),
        ("DTSTART;TZID=Pacific Standard Time:20261102T140000\nDURATION:PT1H", "2026-11-02T17:00", "2026-11-02T18:00"),
        ("DTSTART;VALUE=DATE:20261102\nDTEND;VALUE=DATE:20261104", "2026-11-02T00:00", "2026-11-04T00:00"),
        ("DTSTART;VALUE=DATE:20261102", "2026-11-02T00:00", "2026-11-03T00:00"),
        ("DTSTART;VALUE=DATE:20261031\nDURATION:P2D", "2026-10-31T00:00", "2026-11-02T00:00"),
    ],
)  # fmt: skip
def test_it_reads_times_in_all_the_ways_that_calendars_have(event: str, start: str, end: str) -> None:
    assert _one(event) == [(_at(start), _at(end))]


@pytest.mark.parametrize(("start", "end"), [("020000", "030000"), ("021500", "024500"), ("021530", "024500")])
def test_a_time_within_the_hour_that_spring_skips_is_left_out(start: str, end: str) -> None:
    """On 14 March 2027 New York's clocks go from 02:00 to 03:00: a daily duty within it comes on all other days."""
    zone = "TZID=America/New_York:202703"
    found = _one(f"DTSTART;{zone}13T{start}\nDTEND;{zone}13T{end}\nRRULE:FREQ=DAILY;COUNT=3")
    assert [one[0].day for one in found] == [13, 15]
    assert _one(f"DTSTART;{zone}14T{start}\nDTEND;{zone}14T{end}") == []


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ("SUMMARY:Night\nDTSTART:20270310T020000Z\nDTEND:20270310T010000Z", 'the event "Night" of 10 March 2027 lasts'),
        ("DTSTART;VALUE=DATE:20270310\nDURATION:P40D", "an event without a title of 10 March 2027 lasts over 31 days"),
        ("SUMMARY:A\nDTSTART;TZID=No/Where:20270310T020000", 'the event "A" of 10 March 2027 uses a time zone'),
        ("SUMMARY:B\nDTSTART:20270310T020000Z\nRRULE:FREQ=SECONDLY", 'the event "B" of 10 March 2027 is repeated'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_event_names_it(event: str, why: str) -> None:
    with pytest.raises(BadCalendar) as refused:
        read(_file(event), NEW_YORK, NOW)
    assert refused.value.why.startswith(why)


def test_a_moved_repeat_stands_in_its_place_and_a_cancelled_one_in_none() -> None:
    master = f"{NIGHT}\nRRULE:FREQ=WEEKLY;COUNT=3"
    moved = (
        "RECURRENCE-ID;TZID=America/New_York:20261106T170000\nDTSTART;TZID=America/New_York:20261107T200000\n"
        "DTEND;TZID=America/New_York:20261108T080000"
    )
    gone = "RECURRENCE-ID;TZID=America/New_York:20261113T170000\nSTATUS:CANCELLED\nDTSTART:20261113T220000Z"
    other = "DTSTART:20250101T000000Z\nDURATION:PT1H"  # long over
    assert [a for a, _ in _one(master, other, moved, other, gone)] == [
        _at("2026-10-30T17:00"), _at("2026-11-07T20:00")
    ]  # fmt: skip


def test_a_year_of_random_rules_is_as_another_library_has_it() -> None:
    dice, seen = random.Random(9), 0
    for _ in range(150):
        start = datetime(2026, dice.randint(1, 9), dice.randint(1, 28), dice.randrange(24))  # noqa: DTZ001
        zone = dice.choice(("America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata"))
        frequency = dice.choice(("DAILY", "WEEKLY", "WEEKLY", "MONTHLY", "YEARLY"))
        rule = f"FREQ={frequency};INTERVAL={dice.randint(1, 4)}"
        if frequency == "WEEKLY":
            rule += ";BYDAY=" + ",".join(sorted({dice.choice(("MO", "TU", "FR", "SU")) for _ in range(3)}))
        elif frequency == "MONTHLY":
            rule += dice.choice(
                (
                    "",
                    ";BYDAY=-1FR,2MO",
                    ";BYMONTHDAY=31,-2",
                    ";BYDAY=MO,TU;BYSETPOS=1,-1",
                    ";BYMONTHDAY=13;BYDAY=FR",
                )
            )
        elif frequency == "YEARLY":
            rule += dice.choice(
                (
                    "",
                    ";BYMONTH=3,11;BYDAY=1SU",
                    ";BYDAY=-2FR",
                    ";BYYEARDAY=100,-1",
                    ";BYMONTH=12",
                    ";BYMONTHDAY=5",
                )
            )
        else:
            rule += dice.choice(("", ";BYMONTH=1,2", ";BYDAY=SA,SU", ";BYMONTHDAY=1"))
        rule += dice.choice(("", ";WKST=SU"))
        rule += dice.choice(("", f";COUNT={dice.randint(1, 60)}", ";UNTIL=20270301T120000Z"))
        data = _file(f"DTSTART;TZID={zone}:{start:%Y%m%dT%H%M%S}\nDURATION:PT3H\nSUMMARY:x\nRRULE:{rule}")
        ours = {entry.starts_at for entry in read(data, NEW_YORK, NOW)}
        theirs = recurring_ical_events.of(icalendar.Calendar.from_ical(data)).between(
            NOW, NOW + timedelta(days=366)
        )
        assert ours == {event["DTSTART"].dt.astimezone(UTC) for event in theirs}, (zone, rule, start)
        seen += len(ours)
    assert seen > 1000


HOSTILE = [
    b"", b"\xff\xfe\x00", b"BEGIN:VCALENDAR\r\nEND:VCALENDAR", b"BEGIN:VTODO\r\nEND:VTODO", b"x" * (512 * 1024 + 1),
    _file("SUMMARY:no start"), _file("DTSTART:junk"), _file("DTSTART;TZID=Nowhere/Land:20261101T000000\nDURATION:PT1H"),
    _file(*["DTSTART:20261101T000000Z"] * 2001),
    _file("DTSTART:20261102T000000Z\nDTEND:20261101T000000Z"),
    _file("DTSTART:20261102T000000Z\nDTEND:20281101T000000Z"),
    _file("DTSTART:20261102T000000Z\nDURATION:PT1H\nRDATE;VALUE=PERIOD:20261103T020000Z/PT1H"),
    _file(NIGHT + "\nRECURRENCE-ID;RANGE=THISANDFUTURE:20261106T220000Z"),
    *(
        _file(f"{NIGHT}\nRRULE:{rule}")
        for rule in (
            "FREQ=SECONDLY", "FREQ=HOURLY;COUNT=3", "FREQ=DAILY;INTERVAL=0", "FREQ=DAILY;INTERVAL=-1", "INTERVAL=1",
            "FREQ=DAILY;BYHOUR=1,2,3", "FREQ=YEARLY;BYEASTER=1", "FREQ=DAILY;BYMONTH=13x", "FREQ=WEEKLY;BYDAY=XX",
            "FREQ=DAILY;BYYEARDAY=" + ",".join(str(n) for n in range(1, 300)), "FREQ=YEARLY;BYWEEKNO=1", "FREQ=WEEKLY;BYDAY=2MO", "FREQ=MONTHLY;BYMONTHDAY=0",
        )
    ),
    _file("DTSTART:19000101T000000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY"),
    _file("DTSTART:00010101T000000\nDURATION:PT1H\nRRULE:FREQ=DAILY"),
    _file(*["DTSTART:20080101T000000Z\nDURATION:PT1H\nRRULE:FREQ=YEARLY"] * 80),
    _file(*["DTSTART:20260101T000000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY"] * 20),
]  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_a_damaged_or_hostile_file_is_refused_with_what_to_do(data: bytes) -> None:
    with pytest.raises(BadCalendar) as refused:
        read(data, NEW_YORK, NOW)
    assert refused.value.why and refused.value.mend


def test_a_rule_that_never_comes_true_and_a_table_of_zones_cost_nothing() -> None:
    never = f"{NIGHT}\nRRULE:FREQ=DAILY;COUNT=9;BYMONTH=2;BYMONTHDAY=30"
    assert _one(never) == []
    table = "BEGIN:VTIMEZONE\r\nTZID:Bad\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nRRULE:FREQ=SECONDLY\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n"
    data = _file(NIGHT).replace(b"BEGIN:VEVENT", table.encode() + b"BEGIN:VEVENT")
    assert len(read(data, NEW_YORK, NOW)) == 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_makes_it_fail_otherwise_than_by_refusing(data: st.DataObject) -> None:
    whole = bytearray(
        _file(f"{NIGHT}\nRRULE:FREQ=WEEKLY;BYDAY=MO;UNTIL=20270101T000000Z\nATTENDEE;CN=A:mailto:a@x.example")
    )
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    result: Any = None
    try:
        result = read(bytes(whole), NEW_YORK, NOW)
    except BadCalendar as refused:
        result = refused
    assert isinstance(result, BadCalendar) or all(isinstance(one, Entry) for one in result)


def test_tables_of_zones_are_cut_out_in_one_pass() -> None:
    event = b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:ann\r\nDTSTART:20261026T120000Z\r\nDURATION:PT1H\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    table = b"BEGIN:VTIMEZONE \r\nTZID:x\r\nBEGIN:DAYLIGHT\r\nRRULE:FREQ=SECONDLY\r\nEND:DAYLIGHT\r\nend:vtimezone\t\r\n"
    assert [
        one.summary for one in read(event.replace(b"BEGIN:VEVENT", table + b"BEGIN:VEVENT"), NEW_YORK, NOW)
    ] == ["ann"]
    # A regular expression that looks for each end from each beginning takes minutes for this.
    endless = b"BEGIN:VCALENDAR\r\n" + b"BEGIN:VTIMEZONE\r\n" * 30_000
    with pytest.raises(BadCalendar, match="no end"):
        read(endless, NEW_YORK, NOW)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (b"BEGIN:VTIMEZO\r\n NE", b"END:VTIMEZONE"),
        (b"BEGIN:VTIMEZONE", b"EN\n\tD:VTIMEZONE"),
        (b"begin:vTimeZone", b"End:VtimezonE"),
        (b"BE\r\n\r\n GIN;X=1:VTIMEZONE", b"END;X=1:VTIMEZONE"),
        (b"BEGIN :VTIMEZONE", b"END :VTIMEZONE"),
    ],
)
def test_a_table_of_zones_is_cut_out_however_it_is_written(begin: bytes, end: bytes) -> None:
    """One that is read costs hours: its rule repeats each second since 1970."""
    table = b"TZID:x\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nRRULE:FREQ=SECONDLY\r\nEND:STANDARD\r\n"
    data = _file(NIGHT).replace(b"BEGIN:VEVENT", b"\r\n".join((begin, table + end, b"BEGIN:VEVENT")))
    assert "SECONDLY" not in str(ical_read._without_zones(data))
    assert len(read(data, NEW_YORK, NOW)) == 1


def test_a_table_of_zones_that_ends_and_never_began_is_refused() -> None:
    """Whatever ends as one is read as one."""
    with pytest.raises(BadCalendar, match="no beginning"):
        read(_file(NIGHT).replace(b"END:VEVENT", b"TZID:x\r\nEND;X=1:VTIMEZONE"), NEW_YORK, NOW)
