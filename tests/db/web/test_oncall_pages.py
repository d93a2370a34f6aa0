"""The schedule's pages: what is true is said, what leaves a minute alone needs a name, what is wrong is told with its mend."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.db.web.conftest import Https, signed_in, spoken_message
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import iso, utc_now
from nightbell.mailbox import service as mailbox
from nightbell.oncall import escalation, policies, standing, swaps
from nightbell.oncall.models import (
    Alert,
    Attempt,
    EscalationPolicy,
    Group,
    Holiday,
    LineTest,
    Override,
    Rotation,
    Route,
    Schedule,
    Shift,
    Swap,
)
from nightbell.oncall.policies import Step, Who
from nightbell.people.models import Contact, Pin
from nightbell.people.roles import Role
from nightbell.web import oncall_page, oncall_words
from nightbell.web.views import contacts as contacts_page


@pytest.fixture
def manager(browser: Callable[[Role], Https]) -> Https:
    return browser(Role.MANAGER)


@pytest.fixture
def clinician(browser: Callable[[Role], Https]) -> Https:
    return browser(Role.CLINICIAN)


def body(response: Any) -> str:
    return re.sub(r"\s+", " ", response.content.decode())


def rotation(house: House, **more: Any) -> dict[str, Any]:
    members = [house.people[Role.CLINICIAN].id, "", house.people[Role.FRONT_DESK].id]
    return {
        "member": members, "unit": "week", "every": "1", "starts_on": f"{utc_now():%Y-%m-%d}", "handover": "8:00",
        "rank": "0", "position": "0",
    } | more  # fmt: skip


def actions() -> list[str]:
    return list(Event.objects.order_by("at", "seq").values_list("action", flat=True))


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


def steps(*rows: tuple[str, str, list[str]]) -> dict[str, Any]:
    form: dict[str, Any] = {"row": [f"s{n}" for n in range(len(rows))]}
    for n, (who, wait, how) in enumerate(rows):
        form |= {f"who-s{n}": who, f"wait-s{n}": wait, f"how-s{n}": how}
    return form


ALL = list(policies.WAYS)


def test_a_policy_is_made_looked_at_and_sent_messages(house: House, manager: Https) -> None:
    desk = house.people[Role.FRONT_DESK]
    manager.post("/oncall/group/add", {"name": "Nurses", "member": [desk.id]})
    group = Group.objects.get()
    form = steps(("on_call", "2:30", ["voice"]), (f"group:{group.id}", "5", ALL)) | {"name": "Nights"}
    page = body(manager.post("/oncall/policy/new", form | {"look": "1"}))
    assert not EscalationPolicy.objects.exists(), "a look keeps nothing"
    assert "by phone call" in page and "Nurses" in page and "is told after 7 min 30 s" in page
    assert manager.post("/oncall/policy/new", form).status_code == 302
    made = EscalationPolicy.objects.get()
    assert policies.read_steps(made.steps) == (
        Step(Who.ON_CALL, 150, "", ("voice",)),
        Step(Who.GROUP, 300, group.id),
    )
    route = {"mailbox": house.second.id, "urgency": "routine", "policy": made.id, "quiet": "1"}
    assert manager.post("/oncall/route/add", route).status_code == 302
    row = Route.objects.get()
    assert (row.mailbox, row.policy, row.quiet_until_morning) == (house.second, made, True)
    page = body(manager.get("/oncall/policies"))
    assert "Routine messages to Réfills" in page and "the policy Nights" in page
    assert "At once who is on call" in page and "again every 5 minutes until somebody takes it" in page
    assert manager.post(f"/oncall/policy/{made.id}/remove").status_code == 422, "a rule needs it"
    assert manager.post(f"/oncall/group/{group.id}/remove").status_code == 422, "the policy needs it"
    for path in (f"route/{row.id}", f"policy/{made.id}", f"group/{group.id}"):
        assert manager.post(f"/oncall/{path}/remove").status_code == 302
    assert [a for a in actions() if a.startswith(("policy", "route", "group"))] == [
        "group:save", "policy:save", "route:add", "route:remove", "policy:remove", "group:remove",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "a policy has at least one step"),
        ([("on_call", "61", ALL)], "the wait of step 1 cannot be read"),
        ([("on_call", "2", [])], "step 1 tells by no way"),
        (
            [("user:01M85Z4AV1M2ZEPJAXKYN2FSHQ", "2", ALL)],
            "step 1 tells somebody who is not in your practice",
        ),
        ([("somebody", "2", ALL)], "step 1 tells nobody that we know"),
        ([("last_resort", "2", ALL), ("on_call", "2", ALL)], "move it to the end"),
    ],
)
def test_a_policy_that_makes_no_sense(manager: Https, rows: list[Any], told: str) -> None:
    answer = manager.post("/oncall/policy/new", steps(*rows) | {"name": "Nights"})
    assert answer.status_code == 422 and told in body(answer).casefold()
    assert not EscalationPolicy.objects.exists()


def test_rules_stand_in_an_order_and_change_something(house: House, manager: Https) -> None:
    assert manager.post("/oncall/route/add", {"urgency": "review"}).status_code == 422
    answer = manager.post("/oncall/route/add", {"urgency": "urgent", "quiet": "1"})
    assert "never waits for the morning" in body(answer)
    for urgency in ("review", "routine"):
        manager.post("/oncall/route/add", {"urgency": urgency, "quiet": "1"})
    last = Route.objects.order_by("position").last()
    assert last is not None and last.urgency == "routine"
    manager.post(f"/oncall/route/{last.id}/move", {"to": "up"})
    assert [r.urgency for r in Route.objects.order_by("position")] == ["routine", "review"]


def test_the_usual_steps_are_the_schedules(house: House, manager: Https) -> None:
    assert "Nobody has changed it yet" in body(manager.get("/oncall/policies"))
    manager.post("/oncall/policies/usual", steps(("all", "1", ["sms", "voice"])))
    stored = Schedule.objects.get().steps
    assert stored == [{"who": "all", "id": "", "how": ["sms", "voice"], "wait_s": 60}]


def test_who_is_told_says_in_red_that_nobody_is_on_call(
    house: House, manager: Https, clinician: Https, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Nobody is on call now" not in body(manager.get("/oncall/policies"))
    Shift.objects.all().delete()
    page = body(manager.get("/oncall/policies"))
    red = re.search(r'<section class="nb-alert.*?</section>', page)
    assert red and 'font-semibold text-urgent">' in red[0] and "Nobody is on call now" in red[0]
    assert "tells the last resort at once: Manager Núñez." in red[0]
    assert re.search(r'href="/oncall/plan">Change the plan<', red[0])
    assert 'href="/oncall/plan">Show the plan<' in body(clinician.get("/oncall/policies"))
    Schedule.objects.update(fallback=None)
    assert "tells the last resort at once: the managers." in body(manager.get("/oncall/policies"))
    monkeypatch.setattr(standing.gaps, "staffed", lambda _practice, start, end: [(start, end)])
    page = body(manager.get("/oncall/policies"))
    assert "Nobody is on call now" in page and "The practice is open." in page and "nb-alert" not in page


def test_what_happens_minute_by_minute() -> None:
    found = oncall_words.minutes(
        (Step(Who.ON_CALL, 90), Step(Who.USER, 60, "U")), {"U": "Dr Kim"}, {"on_call": "Dr Patel"}
    )
    assert [(m.at, m.who) for m in found] == [
        ("0:00", "Who is on call (now Dr Patel)"), ("1:30", "Dr Kim"), ("2:30", "The last resort"),
    ]  # fmt: skip
    assert found[-1].repeats == "again every 5 minutes, until somebody takes it"


def test_the_ladder_shows_every_attempt_with_its_receipt(house: House, clinician: Https) -> None:
    message = spoken_message(house, urgent=True)
    now = utc_now()
    escalation.start_due(now)
    alert = Alert.objects.get()
    doctor = house.people[Role.CLINICIAN]
    fields = {
        "alert": alert,
        "user": doctor,
        "kind": "urgent",
        "recorded_at": now,
        "retry_at": now,
        "state": "sent",
    }
    Attempt.objects.create(
        step=7,
        channel="sms",
        address="+16175550100",
        answer="taken",
        receipt="delivered",
        sent_at=now,
        **fields,
    )
    page = body(clinician.get(f"/m/{message.id}/"))
    assert "text, taken, delivered" in page and "is told next" in page
    clinician.post(f"/m/{message.id}/take")
    page = body(clinician.get(f"/m/{message.id}/"))
    assert (
        "text, taken, delivered" in page
        and f"{doctor.name} since" in page
        and "Hand over to a colleague" in page
    )


def test_a_message_is_handed_over_on_the_page(house: House, clinician: Https, browser: Any) -> None:
    message = spoken_message(house)
    desk = house.people[Role.FRONT_DESK]
    assert clinician.post(f"/m/{message.id}/hand-over", {"to": desk.id}).status_code == 409, (
        "it is not theirs"
    )
    mailbox.acknowledge(house.actor(Role.CLINICIAN), message.id)
    assert clinician.post(f"/m/{message.id}/hand-over", {"to": desk.id}).status_code == 302
    message.refresh_from_db()
    assert message.owner == desk
    assert "Hand over to a colleague" not in body(clinician.get(f"/m/{message.id}/"))


def test_the_red_banner(house: House, clinician: Https) -> None:
    assert "nb-alert" not in body(clinician.get("/"))
    Shift.objects.all().delete()
    assert "Nobody is on call now" in body(clinician.get("/"))
    test = LineTest.objects.create(
        practice=house.practice, kind="evening", began_at=utc_now(), state="failed",
        checks={"answered": {"ok": False, "at": iso(utc_now()), "why": "nobody picked up"}},
    )  # fmt: skip
    page = body(clinician.get("/"))
    assert "The evening test of the line failed" in page and "nobody picked up" in page
    LineTest.objects.create(practice=house.practice, kind="evening", began_at=utc_now(), state="passed")
    assert "evening test" not in body(clinician.get("/")) and test.pk


def test_nights_and_who_was_woken(house: House) -> None:
    found = standing.nights(house.actor(Role.MANAGER), date(2026, 11, 20), Schedule.objects.get())
    assert [(one.person.name, one.nights, one.woken) for one in found] == [("Clinician Núñez", 30, 0)]
    other = standing.nights(house.actor(Role.FRONT_DESK), date(2026, 2, 3), Schedule.objects.get())
    assert [(one.nights, one.woken) for one in other] == [(28, None)], "how often is for managers"


def test_a_way_is_added_proved_tested_and_ordered(house: House, clinician: Https, monkeypatch: Any) -> None:
    doctor = house.people[Role.CLINICIAN]
    answer = clinician.post("/account/ways/add", {"kind": "sms", "address": "555 0100"})
    assert answer.status_code == 422 and "write it with its country" in body(answer).lower()
    monkeypatch.setattr("nightbell.people.contacts.secrets.randbelow", lambda _most: 123456)
    clinician.post("/account/ways/add", {"kind": "sms", "address": "+1 (617) 555-0100", "label": "Own phone"})
    made = Contact.objects.get(user=doctor, kind="sms")
    assert "not proved: not used" in body(clinician.get("/account/ways/"))
    assert clinician.post(f"/account/ways/{made.id}/test").status_code == 422
    assert clinician.post(f"/account/ways/{made.id}/prove", {"code": "000000"}).status_code == 422
    assert clinician.post(f"/account/ways/{made.id}/prove", {"code": "123 456"}).status_code == 302
    clinician.post(f"/account/ways/{made.id}/test")
    clinician.post(f"/account/ways/{made.id}/move", {"to": "up"})
    clinician.post(f"/account/ways/{made.id}/silent", {"from": "10 pm", "until": "07:00"})
    made.refresh_from_db()
    assert (
        (made.position, made.quiet_from, made.quiet_until) == (0, 1320, 420)
        and made.verified_at
        and made.send_at
    )
    assert (
        clinician.post(f"/account/ways/{made.id}/silent", {"from": "10 pm", "until": "later"}).status_code
        == 422
    )
    page = body(clinician.get("/account/ways/"))
    assert "silent 22:00 to 07:00" in page and "(617) 555-0100" in page
    clinician.post(f"/account/ways/{made.id}/remove")
    assert "555-0100" not in body(clinician.get("/account/ways/"))


def test_nobody_touches_the_ways_of_another(house: House, clinician: Https, browser: Any) -> None:
    mine = Contact.objects.get(user=house.people[Role.CLINICIAN])
    for act in ("code", "prove", "test", "silent", "remove"):
        assert browser(Role.MANAGER).post(f"/account/ways/{mine.id}/{act}").status_code == 404, act
    mine.refresh_from_db()
    assert mine.ended_at is None


def test_a_browser_is_added_by_its_subscription(house: House, clinician: Https, monkeypatch: Any) -> None:
    monkeypatch.setattr(contacts_page, "PUSH_KEY", lambda: "BPubKey")
    assert 'data-push="BPubKey"' in clinician.get("/account/ways/").content.decode()
    told = {"endpoint": "https://push.example/abc-secret", "keys": {"p256dh": "x", "auth": "y"}}
    answer = clinician.post("/account/ways/push", told, content_type="application/json")
    assert answer.status_code == 204
    made = Contact.objects.get(kind="push")
    assert made.verified_at is not None and made.details == {"p256dh": "x", "auth": "y"}
    page = clinician.get("/account/ways/").content.decode()
    assert "push.example" in page and "abc-secret" not in page
    for wrong in ("[]", "{}", "x", '{"endpoint": 1}', '{"endpoint": "http://push.example/a"}'):
        assert clinician.post("/account/ways/push", wrong, content_type="application/json").status_code == 422


def test_the_service_worker_shows_constants(house: House) -> None:
    answer = Https().get("/sw.js")
    assert answer["Content-Type"].startswith("text/javascript")
    script = answer.content.decode()
    assert '"Something needs you. Open Nightbell to see it."' in script and "{{" not in script
    assert "event.data" not in script, "nothing that a push carries is ever shown"
    assert "fetch" not in script, "nothing is kept, no request is answered"


def test_the_pin_asks_who_you_are_again(house: House, clinician: Https) -> None:
    assert "/account/confirm" in clinician.get("/account/ways/pin")["Location"]
    session, doctor = clinician.session, house.people[Role.CLINICIAN]
    session["account_authentication_methods"] = [
        {"method": "password", "at": utc_now().timestamp(), "reauthenticated": True}
    ]
    session["account_authentication_methods_user"] = doctor.pk
    session.save()
    for pin, again in (("123456", "123456"), ("294817", "294818"), ("12", "12")):
        answer = clinician.post("/account/ways/pin", {"pin": pin, "again": again})
        assert answer.status_code == 422 and f'value="{pin}"' not in body(answer)
    assert clinician.post("/account/ways/pin", {"pin": "294817", "again": "294817"}).status_code == 302
    assert Pin.objects.get().user == doctor
    assert all(b"294817" not in bytes(leaf) for leaf in Event.objects.values_list("leaf", flat=True))


def test_evening_tests_and_drills(house: House, manager: Https, clinician: Https) -> None:
    assert manager.post("/oncall/tests/evening", {"at": "late"}).status_code == 422
    manager.post("/oncall/tests/evening", {"at": "6:15 pm"})
    house.practice.refresh_from_db()
    assert house.practice.line_test_at == 18 * 60 + 15
    checks = {
        "answered": {"ok": True, "at": iso(utc_now())},
        "greeting": {"ok": False, "why": "it was silent"},
    }
    LineTest.objects.create(
        practice=house.practice, kind="evening", began_at=utc_now(), state="failed", checks=checks
    )
    page = body(clinician.get("/oncall/tests"))
    assert "once a test that you begin here has come in" in page
    assert "at <b" in page and "18:15" in page and "The greeting is heard: no, it was silent" in page
    assert "A message is recorded and taken in: not checked" in page, "never green by default"
    assert "Begin a drill" not in page
    begun = manager.post("/oncall/tests/evening", {"now": "1"})
    assert (begun.status_code, LineTest.objects.filter(kind="evening", state="running").count()) == (302, 1)
    assert clinician.post("/oncall/tests/evening", {"now": "1"}).status_code == 403
    assert manager.post("/oncall/tests/drill").status_code == 302
    assert LineTest.objects.filter(kind="drill", state="running").count() == 1
    again = manager.post("/oncall/tests/drill")
    assert again.status_code == 422 and "one is under way" in body(again)
    manager.post("/oncall/tests/evening", {"at": ""})
    assert "The line is not tested." in body(clinician.get("/oncall/tests"))
