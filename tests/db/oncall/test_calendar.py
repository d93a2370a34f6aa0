"""The schedule as a calendar: the feed that leaves, the file that comes in, who is on call by API, and the gaps ahead."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import icalendar
import pytest
from tests.db.web.conftest import Https
from tests.factories import CALLER, House, make_message

from nightbell.audit.models import Event
from nightbell.core.clock import iso, utc_now
from nightbell.core.notice import NoticeKind
from nightbell.line import staffed
from nightbell.line.state import first_version
from nightbell.oncall import gaps, ical_import, schedule, schedule_admin, swaps
from nightbell.oncall.errors import BadCalendar
from nightbell.oncall.models import Notice, NoticeState, Override, Rotation, Schedule, Shift, Swap
from nightbell.oncall.roster import on_call_ids
from nightbell.oncall.rotation import Span
from nightbell.people import tokens
from nightbell.people.access import Forbidden
from nightbell.people.models import User
from nightbell.people.practices import lock_out
from nightbell.people.roles import Role
from nightbell.server import rota_watch

NOW = datetime(2026, 11, 23, 17, tzinfo=UTC)  # Monday noon in New York
DAY = timedelta(days=1)


def _events(body: bytes) -> list[dict[str, Any]]:
    return [dict(event) for event in icalendar.Calendar.from_ical(body).walk("VEVENT")]


def test_the_feed_is_read_without_a_log_in_until_its_secret_ends(house: House) -> None:
    manager = house.actor(Role.MANAGER)
    make_message(house.mailbox, urgent=True)
    secret = schedule_admin.new_feed(manager)
    row = Schedule.objects.get(practice=house.practice)
    assert len(secret) == 43 and secret not in row.feed
    client = Https(raise_request_exception=False)
    answer = client.get(f"/oncall/feed/{secret}.ics")
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/calendar; charset=utf-8")
    events = _events(answer.content)
    assert 400 <= len(events) <= 440
    assert {str(event["SUMMARY"]) for event in events} == {"On call: Clinician Núñez (AB12)"}
    assert CALLER[1:].encode() not in answer.content
    again = client.get(f"/oncall/feed/{secret}.ics", HTTP_IF_NONE_MATCH=answer["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    for known in (f"W/{answer['ETag']}", f'"x", W/{answer["ETag"]}, "y"', "*"):
        assert client.get(f"/oncall/feed/{secret}.ics", HTTP_IF_NONE_MATCH=known).status_code == 304, known
    assert client.get(f"/oncall/feed/{secret}.ics", HTTP_IF_NONE_MATCH='W/"x"').status_code == 200
    head = client.head(f"/oncall/feed/{secret}.ics")
    assert (head.status_code, head.content, head["ETag"]) == (200, b"", answer["ETag"])
    newer = schedule_admin.new_feed(manager)
    assert client.get(f"/oncall/feed/{secret}.ics").status_code == 404
    assert client.get(f"/oncall/feed/{newer}.ics").status_code == 200
    schedule_admin.end_feed(manager)
    for wrong in (newer, "", "x" * 43, "x"):
        assert client.get(f"/oncall/feed/{wrong}.ics").status_code == 404
    told = list(
        Event.objects.filter(action__startswith="schedule:feed")
        .order_by("seq")
        .values_list("action", flat=True)
    )
    assert told == ["schedule:feed", "schedule:feed", "schedule:feed_ended"]
    assert not any(secret in bytes(event.leaf).decode() for event in Event.objects.all())


def test_a_swap_is_in_the_feed_at_once(house: House) -> None:
    desk, row = house.people[Role.FRONT_DESK], Schedule.objects.get(practice=house.practice)
    before = schedule_admin.calendar_of(row, NOW)
    Override.objects.create(schedule=row, user=desk, starts_at=NOW + DAY, ends_at=NOW + DAY * 1.5)
    after = schedule_admin.calendar_of(row, NOW)
    assert after.etag != before.etag
    assert b"Front_Desk" in after.body and b"Front_Desk" not in before.body


def _file(*events: tuple[str, str, str]) -> bytes:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0"]
    for summary, start, more in events:
        lines += [
            "BEGIN:VEVENT",
            f"UID:{summary}{start}",
            f"SUMMARY:{summary}",
            f"DTSTART:{start}",
            more,
            "END:VEVENT",
        ]
    return "\r\n".join([*lines, "END:VCALENDAR", ""]).encode()


@pytest.fixture
def named(house: House) -> dict[Role, User]:
    names = {
        Role.CLINICIAN: "Dr Anika Patel", Role.FRONT_DESK: "José Núñez NP", Role.MANAGER: "Marta Lindqvist",
    }  # fmt: skip
    for role, name in names.items():
        User.objects.filter(pk=house.people[role].pk).update(name=name)
        house.people[role].refresh_from_db()
    return house.people


def test_a_file_is_shown_first_and_then_taken_over_whole(house: House, named: dict[Role, User]) -> None:
    manager = house.actor(Role.MANAGER, NOW)
    data = _file(
        ("On call: jose nunez", "20261124T220000Z", "DURATION:PT15H"),
        ("Patel (backup Lindqvist)", "20261126T220000Z", f"DURATION:PT15H\r\nATTENDEE:mailto:{named[Role.MANAGER].email.upper()}"),
        ("Dr. PATEL", "20261127T000000Z", "DURATION:PT1H"),
    )  # fmt: skip
    shown = ical_import.preview(manager, data)
    assert [(one.user and one.user.role, one.starts_at.day, one.starts_at.hour) for one in shown.stretches] == [
        ("front_desk", 24, 22), ("manager", 26, 22), ("clinician", 27, 0), ("manager", 27, 1),
    ]  # fmt: skip
    assert shown.unknown == ()
    assert not Override.objects.exists()
    assert ical_import.take_over(manager, data) == 4
    assert on_call_ids(house.practice, datetime(2026, 11, 27, 0, 30, tzinfo=UTC)) == [
        named[Role.CLINICIAN].id
    ]
    assert on_call_ids(house.practice, datetime(2026, 11, 27, 2, tzinfo=UTC)) == [named[Role.MANAGER].id]
    assert ical_import.take_over(manager, data) == 0  # the same again changes nothing
    detail = [json.loads(bytes(e.leaf))["detail"] for e in Event.objects.filter(action="schedule:import")]
    assert [one["count"] for one in detail] == [4, 0]


def test_whoever_is_nobody_here_is_asked_for_before_anything_is_made(
    house: House, named: dict[Role, User]
) -> None:
    manager = house.actor(Role.MANAGER, NOW)
    data = _file(
        ("Night doctor", "20261124T220000Z", "DURATION:PT15H"), ("Patel", "20261125T220000Z", "DURATION:PT15H"),
        ("Patel or Lindqvist", "20261126T220000Z", "DURATION:PT1H"),
    )  # fmt: skip
    assert ical_import.preview(manager, data).unknown == ("Night doctor", "Patel or Lindqvist")
    with pytest.raises(BadCalendar):
        ical_import.take_over(manager, data)
    assert not Override.objects.exists()
    names = {"Night doctor": named[Role.FRONT_DESK].id}
    assert ical_import.take_over(manager, data, names=names, leave_out=True) == 2
    assert {row.user for row in Override.objects.all()} == {named[Role.FRONT_DESK], named[Role.CLINICIAN]}
    with pytest.raises(Forbidden):
        ical_import.preview(house.actor(Role.CLINICIAN, NOW), data)


def test_the_api_says_who_is_on_call_now_and_next(house: House, other: House) -> None:
    ann, desk = house.people[Role.CLINICIAN], house.people[Role.FRONT_DESK]
    now = utc_now()
    bearer = tokens.issue(house.people[Role.DISPATCHER], "desk", now)
    client = Https(raise_request_exception=False, HTTP_AUTHORIZATION=f"Bearer {bearer}")
    schedule.add_override(house.actor(Role.MANAGER), desk.id, now + DAY, now + 2 * DAY)
    said = client.get("/api/v1/oncall").json()
    assert said["now"] == [{"id": ann.id, "name": ann.name, "rank": "first"}]
    assert (said["next"]["id"], said["last_resort"]) == (desk.id, house.people[Role.MANAGER].name)
    assert said["until"] == said["next"]["at"]
    later = client.get("/api/v1/oncall", {"at": iso(now + 1.5 * DAY)}).json()
    assert [one["id"] for one in later["now"]] == [desk.id]
    assert client.get("/api/v1/oncall", {"at": "now"}).status_code == 422
    assert client.get("/api/v1/oncall", {"at": "2199-01-01T00:00:00Z"}).status_code == 422
    theirs = Schedule.objects.get(practice=other.practice).id
    assert client.get("/api/v1/oncall", {"schedule": theirs}).status_code == 404
    Shift.objects.all().delete()
    Override.objects.all().delete()
    nobody = client.get("/api/v1/oncall").json()
    assert (nobody["now"], nobody["next"], nobody["until"]) == ([], None, None)


FRIDAY = datetime(2026, 11, 27, 5, tzinfo=UTC)


def _without_friday(house: House) -> None:
    """Nobody on that one Friday."""
    Shift.objects.get(schedule__practice=house.practice, weekday=4).delete()
    row = Schedule.objects.get(practice=house.practice)
    for week in (-3, -2, -1, 1, 2, 3):
        start = FRIDAY + 7 * week * DAY
        Override.objects.create(
            schedule=row, user=house.people[Role.FRONT_DESK], starts_at=start, ends_at=start + DAY
        )


def _keys() -> list[str]:
    return [
        key.split(":")[-2] for key in Notice.objects.order_by("made_at", "key").values_list("key", flat=True)
    ]


def test_managers_are_told_of_an_empty_shift_a_week_and_a_day_before_once(house: House, other: House) -> None:
    assert gaps.find_gaps(NOW) == 0
    _without_friday(house)
    assert [gaps.find_gaps(FRIDAY - 7 * DAY - timedelta(minutes=m)) for m in (1, 0, -1, -2)] == [0, 1, 0, 0]
    assert gaps.find_gaps(FRIDAY - DAY - timedelta(minutes=1)) == 0
    assert [gaps.find_gaps(FRIDAY - DAY + timedelta(minutes=m)) for m in (0, 5)] == [1, 0]
    assert gaps.find_gaps(FRIDAY + timedelta(hours=3)) == 0
    assert _keys() == ["week", "day"]
    notice = Notice.objects.first()
    assert notice is not None
    assert (notice.kind, notice.user, notice.state) == (
        NoticeKind.GAP.value,
        house.people[Role.MANAGER],
        NoticeState.PENDING,
    )
    assert not Notice.objects.filter(practice=other.practice).exists()


def test_a_schedule_that_cannot_be_read_holds_up_no_others_gaps(
    house: House, other: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_friday(other)
    soon = gaps._soon

    def broken(schedule: Schedule, now: datetime) -> list[Span]:
        if schedule.practice_id == house.practice.pk:
            raise ValueError("bad")
        return soon(schedule, now)

    monkeypatch.setattr(gaps, "_soon", broken)
    with pytest.raises(ValueError, match="bad"):
        gaps.find_gaps(FRIDAY - 7 * DAY)
    assert _keys() == ["week"]


def test_a_gap_that_comes_at_short_notice_is_told_at_once_and_several_in_one_letter(house: House) -> None:
    lock_out(house.people[Role.CLINICIAN], "os:test", NOW)
    assert gaps.find_gaps(NOW) == 1
    assert gaps.find_gaps(NOW + timedelta(minutes=5)) == 0
    left = gaps.person_left(house.people[Role.CLINICIAN], "os:test", NOW)
    assert left == [(NOW, NOW + timedelta(days=60))]
    assert Event.objects.get(action="schedule:left").actor == "os:test"
    assert gaps.person_left(house.people[Role.FRONT_DESK], "os:test", NOW) == []  # was never there
    row = Schedule.objects.get(practice=house.practice)
    for day in (1, 3, 5):
        Override.objects.create(
            schedule=row, user=house.people[Role.FRONT_DESK], starts_at=NOW + day * DAY, ends_at=NOW + (day + 1) * DAY
        )  # fmt: skip
    Notice.objects.all().delete()
    assert gaps.find_gaps(NOW) == 1
    assert sorted(Notice.objects.values_list("state", flat=True)) == ["pending", "sent", "sent", "sent"]


def test_what_an_open_practice_covers_itself_is_no_gap_to_be_told_of(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_version(house.practice, NOW)
    monkeypatch.setattr(gaps, "staffed", staffed.spans)
    _without_friday(house)
    row = Schedule.objects.get(practice=house.practice)
    for start, end in ((0, 8), (17, 24)):  # the practice is open on Fridays from 8 to 5
        Override.objects.create(
            schedule=row, user=house.people[Role.FRONT_DESK],
            starts_at=FRIDAY + timedelta(hours=start), ends_at=FRIDAY + timedelta(hours=end),
        )  # fmt: skip
    assert gaps.gaps_ahead(house.practice, NOW)[0][0] == FRIDAY + timedelta(hours=8)
    assert _told_of(house) == []
    Override.objects.filter(starts_at=FRIDAY).delete()
    assert _told_of(house)[0] == (FRIDAY, FRIDAY + timedelta(hours=8))


def _told_of(house: House) -> list[Span]:
    return gaps._soon(Schedule.objects.get(practice=house.practice), FRIDAY - 5 * DAY)


def test_a_schedule_that_was_never_begun_is_told_of_by_the_page_alone(house: House) -> None:
    Shift.objects.all().delete()
    assert gaps.find_gaps(NOW) == 0
    Rotation.objects.create(
        schedule=Schedule.objects.get(practice=house.practice), starts_on=NOW.date() + 90 * DAY, members=[house.people[Role.CLINICIAN].id]
    )  # fmt: skip
    assert [gaps.find_gaps(NOW + minutes * timedelta(minutes=1)) for minutes in range(3)] == [1, 0, 0]


def test_a_swap_that_cannot_go_on_holds_up_neither_the_others_nor_the_gaps(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_friday(house)
    ann, desk, boss = (house.people[role] for role in (Role.CLINICIAN, Role.FRONT_DESK, Role.MANAGER))
    made = [
        swaps.ask(ann, NOW + hours * timedelta(hours=1), NOW + (hours + 1) * timedelta(hours=1), [desk.id, boss.id], NOW, True)
        for hours in range(2)
    ]  # fmt: skip
    went_on = swaps._go_on

    def broken(swap: Swap, now: datetime) -> None:
        if swap.id == made[0].id:
            raise KeyError("broken")
        went_on(swap, now)

    monkeypatch.setattr(swaps, "_go_on", broken)
    monkeypatch.setattr(rota_watch.clock, "utc_now", lambda: NOW + timedelta(minutes=5))
    watch = rota_watch.RotaWatch()
    with pytest.raises(KeyError):
        watch.step()
    assert [one.user for one in swaps.asking() if one.swap.id == made[1].id] == [boss]
    assert Notice.objects.filter(kind=NoticeKind.GAP.value).exists()
