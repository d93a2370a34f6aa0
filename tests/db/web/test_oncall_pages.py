"""The schedule's pages: what is true is said, what leaves a minute alone needs a name, what is wrong is told with its mend."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.db.web.conftest import Https, signed_in
from tests.db.web.oncall_pages import body
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.mailbox.values import Person
from nightbell.oncall import standing, swaps
from nightbell.oncall.models import (
    Holiday,
    Override,
    Rotation,
    Schedule,
    Shift,
    Swap,
)
from nightbell.oncall.roster import DutyView, Lanes
from nightbell.people.models import Contact
from nightbell.people.roles import Role
from nightbell.web import oncall_page


def rotation(house: House, **more: Any) -> dict[str, Any]:
    members = [house.people[Role.CLINICIAN].id, "", house.people[Role.FRONT_DESK].id]
    return {
        "member": members, "unit": "week", "every": "1", "starts_on": f"{utc_now():%Y-%m-%d}", "handover": "8:00",
        "rank": "0", "position": "0",
    } | more  # fmt: skip


def test_a_rotation_is_made_changed_and_taken_away(house: House, manager: Https) -> None:
    hours = {"row": ["h0", "h1"], "days-h0": ["0", "1"], "start-h0": "5 pm", "end-h0": "08:00"}
    assert manager.post("/oncall/rotation/new", rotation(house, **hours)).status_code == 302
    made = Rotation.objects.get()
    assert made.members == [house.people[Role.CLINICIAN].id, house.people[Role.FRONT_DESK].id]
    assert made.hours == [{"weekday": day, "start": 1020, "minutes": 900} for day in (0, 1)]
    page = body(manager.get(f"/oncall/rotation/{made.id}"))
    assert 'value="17:00"' in page and 'value="08:00"' in page
    assert "every week at 08:00" in body(manager.get("/oncall/plan"))
    assert manager.post(f"/oncall/rotation/{made.id}", rotation(house, every="2")).status_code == 302
    made.refresh_from_db()
    assert made.every == 2 and made.hours == []
    assert manager.post(f"/oncall/rotation/{made.id}/remove").status_code == 302
    assert not Rotation.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"member": ["", ""]}, "nobody is in the rotation"),
        ({"every": "0"}, "how long a turn is is out of range"),
        ({"handover": "early"}, "the time of the handover cannot be read. Write it as 17:30 or 5:30 pm."),
        ({"starts_on": "9999-12-31"}, "the first day is over two years away"),
        (
            {"row": ["h0"], "days-h0": ["0"], "start-h0": "x", "end-h0": "8:00"},
            "a start of the hours cannot be read",
        ),
    ],
)
def test_a_rotation_that_makes_no_sense(
    house: House, manager: Https, wrong: dict[str, Any], told: str
) -> None:
    answer = manager.post("/oncall/rotation/new", rotation(house, **wrong))
    assert answer.status_code == 422 and told.partition(". Write")[0] in body(answer)
    assert 'role="alert"' in body(answer) and not Rotation.objects.exists()


def test_leaving_a_minute_alone_needs_the_own_name(house: House, manager: Https) -> None:
    shift = Shift.objects.filter(weekday=2).get()
    path = f"/oncall/shift/{shift.id}/remove"
    page = body(manager.post(path))
    assert "nobody would be on call for" in page and "type your name: Manager Núñez" in page
    assert Shift.objects.filter(pk=shift.pk).exists()
    answer = manager.post(path, {"confirm": "Somebody Else"})
    assert answer.status_code == 422 and "That is not your name" in body(answer)
    assert manager.post(path, {"confirm": "manager  núñez"}).status_code == 302
    assert not Shift.objects.filter(pk=shift.pk).exists()
    row = Event.objects.get(action="schedule:shift_removed")
    detail = json.loads(bytes(row.leaf))["detail"]
    assert detail["confirmed"] is True and detail["uncovered"]


def test_a_change_that_must_be_confirmed_comes_back_whole(house: House, manager: Https) -> None:
    """The form that asks for the name carries all that was typed, or the second try would be another change."""
    Shift.objects.all().delete()
    manager.post("/oncall/rotation/new", rotation(house, member=[house.people[Role.CLINICIAN].id]))
    made = Rotation.objects.get()
    changed = rotation(house, member=[house.people[Role.CLINICIAN].id], every="3") | {
        "row": ["h0"], "days-h0": ["0", "4"], "start-h0": "17:00", "end-h0": "8:00",
    }  # fmt: skip
    page = manager.post(f"/oncall/rotation/{made.id}", changed).content.decode()
    form = page[page.index('role="alert"') : page.index('name="confirm"')]
    again: dict[str, list[str]] = {"confirm": ["Manager Núñez"]}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form):
        if name != "csrfmiddlewaretoken":
            again.setdefault(name, []).append(value)
    assert manager.post(f"/oncall/rotation/{made.id}", again).status_code == 302
    made.refresh_from_db()
    assert made.every == 3 and [one["weekday"] for one in made.hours] == [0, 4]


def test_a_gap_is_red_in_words_and_in_the_lanes(house: House, manager: Https) -> None:
    Shift.objects.filter(weekday=(utc_now() + timedelta(days=3)).weekday()).delete()
    page = body(manager.get("/oncall/"))
    assert "Nobody is on call" in page and "Fill the gap" in page
    assert 'class="nb-gap col-start-' in page and "no gap" not in page
    assert "Checked 60 days ahead: 9 gaps" in page or "Checked 60 days ahead: 8 gaps" in page


def test_an_open_practice_is_no_gap(house: House, manager: Https, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightbell.oncall.gaps.staffed", lambda _practice, start, end: [(start, end)])
    Shift.objects.all().delete()
    page = body(manager.get("/oncall/"))
    assert "Fill the gap" not in page and "the practice itself" in page and "no gap" in page
    assert standing.trouble(house.practice, utc_now()).nobody is False


def test_who_is_on_call_and_cannot_be_told_is_red(house: House, manager: Https) -> None:
    name = house.people[Role.CLINICIAN].name
    assert "cannot be told" not in body(manager.get("/")) + body(manager.get("/oncall/"))
    Contact.objects.filter(user=house.people[Role.CLINICIAN]).update(ended_at=utc_now())
    assert f"{name} cannot be told" in body(manager.get("/"))
    assert "proved no way to be told" in body(manager.get("/oncall/"))
    assert standing.trouble(house.practice, utc_now()).untellable == (house.people[Role.CLINICIAN].name,)


def test_a_practice_without_any_schedule_has_its_pages(house: House, manager: Https) -> None:
    Schedule.objects.all().delete()
    for path in ("", "plan", "policies", "swap", "tests", "import", "rotation/new", "policy/new"):
        assert manager.get(f"/oncall/{path}").status_code == 200, path
    assert "Nobody is on call" in body(manager.get("/"))
    assert manager.post("/oncall/rotation/new", rotation(house)).status_code == 302
    assert Schedule.objects.get().main


STRANGE = ["\x00", "9" * 400, "nan", "²", "01M85Z4AV1M2ZEPJAXKYN2FSHQ"]


@pytest.mark.parametrize("text", STRANGE)
def test_whatever_is_typed_is_answered(house: House, manager: Https, text: str) -> None:
    """No field of a form of these pages brings the server down."""
    names = (
        "user", "from_day", "from_time", "to_day", "to_time", "member", "unit", "every", "starts_on", "ends_on",
        "handover", "rank", "position", "name", "row", "days-a", "start-a", "who-a", "wait-a", "how-a", "mailbox",
        "number", "urgency", "hours", "policy", "quiet", "first", "whom", "day", "weekday", "start", "end", "at",
        "packed", "summary", "person", "kind", "address", "label", "answer", "schedule",
    )  # fmt: skip
    for path in (
        "override", "shift", "rotation/new", "holiday", "last-resort", "schedules/add", "policy/new", "route/add",
        "group/add", "swap", "import", "tests/evening",
    ):  # fmt: skip
        answer = manager.post(f"/oncall/{path}", dict.fromkeys(names, text) | {"row": "a"})
        assert answer.status_code < 500, path
    asked = dict.fromkeys(("week", "schedule", "user", "from", "to", "did", "made"), text)
    for path in ("", "swap"):
        assert manager.get(f"/oncall/{path}", asked).status_code < 500, path
    assert manager.post("/account/ways/add", dict.fromkeys(names, text)).status_code < 500


def test_lanes_keep_to_the_wall_clock_when_it_changes() -> None:
    """Sunday 1 November 2026 has 25 hours in New York; every column of the week stays where its hour is."""
    zone = "America/New_York"
    monday = datetime(2026, 10, 26, tzinfo=ZoneInfo(zone)).date()
    at = datetime(2026, 11, 1, 8, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    assert oncall_page.column(at, monday, zone) == 6 * 24 + 8
    assert (
        oncall_page.column(datetime(2026, 11, 2, tzinfo=ZoneInfo(zone)).astimezone(UTC), monday, zone) == 168
    )


def test_what_lies_before_today_is_by_the_plan_of_today_and_grey() -> None:
    """A stretch over midnight is cut there; nothing of before is red, has a person's colour, or can be given away."""
    zone, ann = "America/New_York", Person("A", "Dr Ann", "DA", 1)
    monday = datetime(2026, 11, 23, tzinfo=ZoneInfo(zone))
    days = [(monday + timedelta(days=n, hours=12)).astimezone(UTC) for n in range(7)]
    duty = DutyView(ann, days[0], days[4], 0, "", "S")
    gap = DutyView(None, days[4], days[5], 0, "", "")
    lanes = Lanes((duty,), (), (), (duty,), (gap,), {})

    def frame(now: datetime) -> oncall_page.Frame:
        return oncall_page.Frame(zone, now, (), {}, None, {})

    [week] = oncall_page.weeks(lanes, monday.date(), 1, frame(days[2]))
    before, after, empty = dict(week.lanes)["On call"]
    assert [(one.start, one.span, one.past, bool(one.swap)) for one in (before, after)] == [
        (13, 36, True, False), (49, 60, False, True),
    ]  # fmt: skip
    assert empty.kind == "gap" and not empty.past and [day.gap for day in week.days][4:6] == [True, True]
    parts = [day.parts[0] for day in oncall_page.by_day(lanes, monday.date(), 4, frame(days[2]))]
    assert [(one.past, bool(one.swap)) for one in parts] == [(True, False)] * 2 + [(False, True)] * 2
    [later] = oncall_page.weeks(lanes, monday.date(), 1, frame(days[6] + timedelta(days=2)))
    assert all(one.past for _, bars in later.lanes for one in bars) and not any(day.gap for day in later.days)


def test_the_calendar_says_whose_plan_the_past_is(manager: Https, clinician: Https) -> None:
    gone, ahead = (f"/oncall/?week={utc_now() + timedelta(days=days):%Y-%m-%d}" for days in (-9, 9))
    page = body(manager.get(gone))
    assert "is by today's plan; who was told stands in <a" in page and 'class="nb-shift p5 ' in page
    assert '<a class="link" href="/audit/">the log</a>' in manager.get(gone).content.decode()
    assert '<a class="link" href="/audit/">the log</a>' not in clinician.get(gone).content.decode()
    assert "who was told stands in the log" in body(clinician.get(gone))
    assert "is by today's plan;" not in body(manager.get(ahead))
    Shift.objects.all().delete()
    page = manager.get(gone).content.decode()
    assert ">nobody</span>" in page, "a gap of before is no alarm"


def test_holidays_last_resort_and_further_schedules(house: House, manager: Https) -> None:
    day = f"{utc_now() + timedelta(days=20):%Y-%m-%d}"
    manager.post("/oncall/holiday", {"day": day, "name": "Thanksgiving"})
    assert Holiday.objects.get().name == "Thanksgiving"
    assert "Thanksgiving" in body(manager.get("/oncall/plan"))
    manager.post("/oncall/holiday", {"day": day, "remove": "1"})
    assert not Holiday.objects.exists()
    assert manager.post("/oncall/last-resort", {"user": ""}).status_code == 422, "it is never emptied"
    desk = house.people[Role.FRONT_DESK]
    manager.post("/oncall/last-resort", {"user": desk.id})
    assert Schedule.objects.get(main=True).fallback == desk
    answer = manager.post("/oncall/schedules/add", {"name": "Nurses, nights"})
    nights = Schedule.objects.get(main=False)
    assert answer["Location"].endswith(f"?schedule={nights.id}&did=made")
    page = body(manager.get(f"/oncall/?schedule={nights.id}"))
    assert "Nurses, nights" in page and "Nobody is on call" in page
    manager.post(f"/oncall/schedules/{nights.id}/rename", {"name": "Nights", "schedule": nights.id})
    assert Schedule.objects.get(pk=nights.id).name == "Nights"
    assert manager.post(f"/oncall/schedules/{nights.id}/remove").status_code == 302
    main = Schedule.objects.get()
    assert manager.post(f"/oncall/schedules/{main.id}/remove").status_code == 422, "the main one stays"


def test_the_calendars_address_is_shown_once_and_ends(house: House, manager: Https) -> None:
    page = manager.post("/oncall/feed").content.decode()
    address = re.search(r'id="feed-address">https://[^/]+(/oncall/feed/[\w-]{43}\.ics)<', page)
    assert address is not None
    assert Https().get(address[1]).status_code == 200
    assert "feed-address" not in manager.get("/oncall/plan").content.decode()
    manager.post("/oncall/feed", {"end": "1"})
    assert Https().get(address[1]).status_code == 404


ICS = """BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20200101T000000Z\r
DTSTART:{start}\r\nDTEND:{end}\r\nSUMMARY:{summary}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"""


def ics(summary: str) -> bytes:
    start = utc_now() + timedelta(days=5)
    text = ICS.format(
        start=f"{start:%Y%m%dT%H%M%SZ}", end=f"{start + timedelta(hours=9):%Y%m%dT%H%M%SZ}", summary=summary
    )
    return text.encode()


def upload(data: bytes) -> Any:
    from django.core.files.uploadedfile import SimpleUploadedFile

    return {"file": SimpleUploadedFile("rota.ics", data, "text/calendar")}


def test_a_calendar_file_is_shown_first_and_then_taken_over(house: House, manager: Https) -> None:
    desk = house.people[Role.FRONT_DESK]
    page = manager.post("/oncall/import", upload(ics("Night shift Zed"))).content.decode()
    assert "Who is this?" in page and "Night shift Zed" in page and not Override.objects.exists()
    packed = re.search(r'name="packed" value="([^"]+)"', page)
    assert packed is not None
    form = {"packed": packed[1], "summary": ["Night shift Zed"], "person": [desk.id]}
    assert desk.name in manager.post("/oncall/import", form).content.decode()
    answer = manager.post("/oncall/import", form | {"confirm_import": "1"})
    assert answer.status_code == 302
    assert Override.objects.get().user == desk


@pytest.mark.parametrize("data", [b"", b"no calendar", b"\x00" * 1000])
def test_a_damaged_calendar_file_is_told(manager: Https, data: bytes) -> None:
    answer = manager.post("/oncall/import", upload(data))
    assert answer.status_code == 422 and 'role="alert"' in body(answer)
    assert manager.post("/oncall/import", {"packed": "AAAA"}).status_code == 422
    assert manager.post("/oncall/import", {}).status_code == 422


def test_a_shift_is_given_away_on_the_page(house: House, clinician: Https) -> None:
    doctor, desk = house.people[Role.CLINICIAN], house.people[Role.FRONT_DESK]
    page = body(clinician.get("/oncall/swap"))
    assert "What happens" in page and "Until somebody does, you stay on call." in page
    start = (utc_now() + timedelta(hours=1)).astimezone(ZoneInfo(house.practice.zone))
    end = start + timedelta(hours=5)
    times = {
        "from_day": f"{start:%Y-%m-%d}", "from_time": f"{start:%H:%M}",
        "to_day": f"{end:%Y-%m-%d}", "to_time": f"{end:%H:%M}",
    }  # fmt: skip
    boss = house.people[Role.MANAGER]
    form = {"user": doctor.id, "first": desk.id, "whom": [boss.id, desk.id], **times}
    assert clinician.post("/oncall/swap", form).status_code == 302
    swap = Swap.objects.get()
    assert [one["user"] for one in swap.asked] == [desk.id] and swap.candidates == [boss.id]
    assert "asks Front_Desk Núñez" in body(clinician.get("/oncall/"))
    other = signed_in(desk)
    assert "You are asked" in other.get("/oncall/").content.decode()
    assert (
        other.post(f"/oncall/swap/{swap.id}/answer", {"answer": "yes"})["Location"] == "/oncall/?did=accepted"
    )
    assert Override.objects.get().user == desk
    assert "took" in body(clinician.get("/oncall/")) and "accepted" in body(clinician.get("/oncall/"))
    again = clinician.post("/oncall/swap", form)
    assert again.status_code == 422 and "is not first on call all that time" in body(again)


def test_who_has_no_shift_of_their_own_sees_whose_can_be_given_away(house: House, manager: Https) -> None:
    """The manager's Swap, as a page and as the dialog of the calendar: nothing of theirs, so the others' stand open."""
    doctor = f"/oncall/swap?user={house.people[Role.CLINICIAN].id}"
    for more in ({}, {"headers": {"X-Dialog": "1"}}):
        page = manager.get("/oncall/swap", **more).content.decode()
        assert "there is nothing to give away" in page and doctor in page
        assert re.search(r"<details[^>]* open><summary[^>]*>Somebody else's shift", page)
    page = manager.get(doctor).content.decode()
    assert re.search(r'<details class="mt-1"><summary[^>]*>Somebody else\'s shift', page), (
        "folded beside a shift"
    )


def test_a_swap_of_long_ago_is_in_the_past(house: House, clinician: Https) -> None:
    form = {
        "from_day": "2020-01-01", "from_time": "17:00", "to_day": "2020-01-02", "to_time": "8:00",
        "first": house.people[Role.FRONT_DESK].id, "user": house.people[Role.CLINICIAN].id,
    }  # fmt: skip
    answer = clinician.post("/oncall/swap", form)
    assert answer.status_code == 422 and "the first day lies over two years in the past" in body(answer)


def test_a_swap_is_withdrawn_by_its_giver_alone(house: House, clinician: Https, browser: Any) -> None:
    doctor, desk = house.people[Role.CLINICIAN], house.people[Role.FRONT_DESK]
    now = utc_now()
    swap = swaps.ask(doctor, now, now + timedelta(hours=3), [desk.id], now, False)
    assert browser(Role.FRONT_DESK).post(f"/oncall/swap/{swap.id}/withdraw").status_code == 409
    clinician.post(f"/oncall/swap/{swap.id}/withdraw")
    assert Swap.objects.get().state == "withdrawn"
    assert (
        browser(Role.FRONT_DESK)
        .post(f"/oncall/swap/{swap.id}/answer", {"answer": "yes"})["Location"]
        .endswith("over")
    )
