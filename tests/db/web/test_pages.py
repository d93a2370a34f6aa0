"""The pages beside the messages: audit log, on call, status."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from zoneinfo import ZoneInfo

import pytest
from tests.db.web.conftest import Https, spoken_message
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.oncall.models import Override, Shift
from nightbell.people.roles import Role


def test_the_log_is_shown_in_words_and_filtered(house: House, browser: Callable[[Role], Https]) -> None:
    message = spoken_message(house)
    browser(Role.CLINICIAN).get(f"/m/{message.id}/")
    client = browser(Role.COMPLIANCE)
    page = client.get("/audit/").content.decode()
    assert "Opened a message" in page and house.people[Role.CLINICIAN].name in page
    login = house.people[Role.FRONT_DESK].login
    assert "Opened a message" not in client.get(f"/audit/?user={login}").content.decode()
    assert "Opened a message" in client.get(f"/audit/?message={message.id}").content.decode()
    tomorrow = (utc_now() + timedelta(days=2)).date()
    assert "Opened a message" not in client.get(f"/audit/?from={tomorrow}").content.decode()
    assert "Nothing matches" in client.get(f"/audit/?from={tomorrow}").content.decode()


@pytest.mark.parametrize("query", ["from=soon", "to=9999-12-31", "message=xyz", "cursor=-4", "user=%00"])
def test_a_wrong_filter_is_no_crash(browser: Callable[[Role], Https], query: str) -> None:
    assert browser(Role.COMPLIANCE).get("/audit/?" + query).status_code == 200


def test_looking_at_the_log_is_in_the_log(house: House, browser: Callable[[Role], Https]) -> None:
    browser(Role.COMPLIANCE).get("/audit/")
    assert Event.objects.filter(log_id=house.practice.id, action="audit:query").count() == 1


def test_the_export_is_csv_without_formulas(house: House, browser: Callable[[Role], Https]) -> None:
    from nightbell.audit import service as audit

    audit.record(house.practice.id, actor="user:=HYPERLINK(1)", action="+x", now=utc_now(), source="@y")
    answer = browser(Role.COMPLIANCE).get("/audit/export")
    assert answer["Content-Type"].startswith("text/csv")
    rows = list(csv.reader(StringIO(answer.content.decode())))
    assert rows[0] == ["seq", "time", "actor", "action", "message", "outcome", "source"]
    assert not any(cell[:1] in "=+-@" for row in rows[1:] for cell in row if cell)
    assert Event.objects.filter(log_id=house.practice.id, action="audit:export").count() == 1


def test_it_shows_who_is_on_call(house: House, browser: Callable[[Role], Https]) -> None:
    page = browser(Role.FRONT_DESK).get("/oncall/").content.decode()
    assert house.people[Role.CLINICIAN].name in page
    assert "Put somebody on call" not in page, "the desk may look, not change"


def test_a_gap_is_said_in_words(house: House, browser: Callable[[Role], Https]) -> None:
    Shift.objects.all().delete()
    page = browser(Role.MANAGER).get("/oncall/").content.decode()
    assert "Nobody is on call" in page and "Fill the gap" in page
    assert "Nobody is on call" in browser(Role.CLINICIAN).get("/").content.decode(), "the rail says it too"


def when(from_day: str, from_time: str, to_day: str, to_time: str) -> dict[str, str]:
    return {"from_day": from_day, "from_time": from_time, "to_day": to_day, "to_time": to_time}


def test_nobody_is_on_call_by_a_slip_of_the_hand(house: House, browser: Callable[[Role], Https]) -> None:
    client = browser(Role.MANAGER)
    page = client.get("/oncall/").content.decode()
    first = page.split('id="o-user" required>')[1]
    assert first.startswith('<option value="">Choose a person</option>')
    assert client.get("/oncall/plan").content.decode().count('<option value="">Choose a person</option>') == 1
    answer = client.post(
        "/oncall/override", {"user": "", **when("2090-11-24", "9:00", "2090-11-24", "10:00")}
    )
    assert b"the person is missing" in answer.content


def test_times_are_on_one_clock(house: House, browser: Callable[[Role], Https]) -> None:
    """The browser's own fields of time follow the browser's language, not the practice's clock."""
    client, doctor = browser(Role.MANAGER), house.people[Role.CLINICIAN]
    page = client.get("/oncall/").content.decode()
    assert 'type="time"' not in page and 'type="datetime-local"' not in page
    assert f"24-hour clock of the practice, {house.practice.zone}" in page
    day = f"{utc_now() + timedelta(days=2):%Y-%m-%d}"
    assert (
        client.post("/oncall/override", {"user": doctor.id, **when(day, "5:30 pm", day, "24:00")}).status_code
        == 302
    )
    made, zone = Override.objects.get(), ZoneInfo(house.practice.zone)
    assert f"{made.starts_at.astimezone(zone):%Y-%m-%d %H:%M}" == f"{day} 17:30"
    assert f"{made.ends_at.astimezone(zone):%H:%M}" == "00:00"


def test_what_was_typed_stays_when_it_is_refused(house: House, browser: Callable[[Role], Https]) -> None:
    doctor = house.people[Role.CLINICIAN]
    form = {"user": doctor.id, **when("2090-11-24", "half past", "2090-11-25", "08:15")}
    page = browser(Role.MANAGER).post("/oncall/override", form).content.decode()
    assert "the time it starts cannot be read. Write it as 17:30 or 5:30 pm." in page
    assert 'value="half past"' in page and 'value="08:15"' in page
    assert f'<option value="{doctor.id}" selected>' in page


def test_a_manager_puts_somebody_on_call_and_undoes_it(
    house: House, browser: Callable[[Role], Https]
) -> None:
    client, desk = browser(Role.MANAGER), house.people[Role.FRONT_DESK]
    start = utc_now() + timedelta(days=1)
    end = start + timedelta(hours=3)
    times = {
        "from_day": f"{start:%Y-%m-%d}",
        "from_time": f"{start:%H:%M}",
        "to_day": f"{end:%Y-%m-%d}",
        "to_time": f"{end:%H:%M}",
    }
    assert client.post("/oncall/override", {"user": desk.id, **times}).status_code == 302
    override = Override.objects.get()
    assert override.user == desk
    client.post(f"/oncall/override/{override.id}/remove")
    assert not Override.objects.exists()
    assert client.post(f"/oncall/override/{override.id}/remove").status_code == 404


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [
        ("9999-12-31", "9999-12-31", "the first day is over two years away. Check the year."),
        ("0001-01-01", "0001-01-01", "the first day lies over two years in the past. Check the year."),
        ("2090-11-24", "2090-11-25", "the first day is over two years away. Check the year."),
        ("today", "9999-12-31", "the last day is over two years away. Check the year."),
        ("-800", "today", "the first day lies over two years in the past. Check the year."),
        ("-3", "-2", "it lies in the past. Check the date."),
    ],
)
def test_an_override_is_near(
    house: House, browser: Callable[[Role], Https], first: str, last: str, told: str
) -> None:
    """Days at the end of time overflow as soon as a zone reckons with them."""

    def day(text: str) -> str:
        days = {"today": 0, "-800": -800, "-3": -3, "-2": -2}.get(text)
        return text if days is None else f"{utc_now() + timedelta(days=days):%Y-%m-%d}"

    client = browser(Role.MANAGER)
    form = {"user": house.people[Role.CLINICIAN].id, **when(day(first), "17:00", day(last), "23:59")}
    answer = client.post("/oncall/override", form)
    assert answer.status_code == 422 and told in answer.content.decode()
    assert not Override.objects.exists()


@pytest.mark.parametrize("row", ["%00", "x", "01m85z4av1m2zepjaxkyn2fshq", "01M85Z4AV1M2ZEPJAXKYN2FSHQ"])
def test_what_is_no_entry_of_the_schedule_cannot_be_removed(
    browser: Callable[[Role], Https], row: str
) -> None:
    for what in ("override", "shift"):
        assert browser(Role.MANAGER).post(f"/oncall/{what}/{row}/remove").status_code == 404


@pytest.mark.parametrize("what", ["%00", "x%00", "%ED%A0%80", "9" * 40])
def test_an_address_with_no_id_in_it_is_not_there(browser: Callable[[Role], Https], what: str) -> None:
    client = browser(Role.CLINICIAN)
    gets = (f"/m/{what}/", f"/m/{what}/audio", f"/n/{what}", f"/setup/{what}", f"/?mailbox={what}")
    for path in gets:
        assert client.get(path).status_code == 404, path
    for act in ("heard", "take", "note", "close", "reopen"):
        assert client.post(f"/m/{what}/{act}", {"text": "x", "outcome": "reached"}).status_code == 404, act
    manager = browser(Role.MANAGER)
    assert manager.get(f"/audit/?message={what}&user={what}&cursor={what}").status_code == 200
    assert manager.get("/account/passkeys/" + "9" * 40 + "/remove/").status_code in (302, 404)


def test_a_shift_over_midnight_is_added_and_removed(house: House, browser: Callable[[Role], Https]) -> None:
    client, desk = browser(Role.MANAGER), house.people[Role.FRONT_DESK]
    client.post(
        "/oncall/shift", {"user": desk.id, "weekday": "4", "start": "17:00", "end": "08:00", "rank": "1"}
    )
    shift = Shift.objects.get(user=desk)
    assert (shift.weekday, shift.start, shift.minutes, shift.rank) == (4, 1020, 900, 1)
    client.post(f"/oncall/shift/{shift.id}/remove")
    assert not Shift.objects.filter(user=desk).exists()


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"user": "me", "from_day": "soon", "from_time": "later"},
        {"user": "me", **when("2026-11-24", "10:00", "2026-11-24", "09:00")},
        {"user": "01M85Z4AV1M2ZEPJAXKYN2FSHQ", **when("2090-11-24", "10:00", "2090-11-24", "11:00")},
        {"user": "me", **when("0001-01-01", "00:00", "9999-12-31", "24:00")},
        {"user": "me", **when("2090-11-24", "17:00", "2090-11-24", "")},
        {"user": "me", **when("2090-11-24", "5", "2090-11-24", "8")},
        {"user": "", **when("2090-11-24", "10:00", "2090-11-24", "11:00")},
    ],
)
def test_a_change_that_makes_no_sense_is_told_on_the_page(
    house: House, browser: Callable[[Role], Https], form: dict[str, str]
) -> None:
    if form.get("user") == "me":
        form = form | {"user": house.people[Role.CLINICIAN].id}
    answer = browser(Role.MANAGER).post("/oncall/override", form)
    assert answer.status_code == 422
    assert b'role="alert"' in answer.content
    assert not Override.objects.exists()


@pytest.mark.parametrize(
    "form",
    [{}, {"weekday": "9"}, {"weekday": "1", "start": "25:00", "end": "08:00"}, {"weekday": "", "start": "x"}],
)
def test_a_shift_that_makes_no_sense_is_told_on_the_page(
    browser: Callable[[Role], Https], form: dict[str, str]
) -> None:
    assert browser(Role.MANAGER).post("/oncall/shift", form).status_code == 422


def test_only_those_who_may_change_the_schedule_do(house: House, browser: Callable[[Role], Https]) -> None:
    for role in Role:
        if role is not Role.MANAGER:
            assert browser(role).post("/oncall/override", {}).status_code == 403
            assert browser(role).post("/oncall/shift", {}).status_code == 403


@pytest.mark.parametrize("week", ["2026-11-23", "1-1-1", "9999-12-31", "0001-01-01", "x", ""])
def test_any_week_can_be_asked_for(browser: Callable[[Role], Https], week: str) -> None:
    assert browser(Role.CLINICIAN).get(f"/oncall/?week={week}").status_code == 200


def test_the_status_says_what_needs_a_person(
    house: House, browser: Callable[[Role], Https], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nightbell.web import context

    client = browser(Role.IT_ADMIN)
    assert "Not checked yet" in client.get("/status/").content.decode(), "never green by default"
    report = {
        "ok": False,
        "checks": {"keys": {"ok": False, "says": "away"}, "audit": {"ok": True, "says": "open"}},
    }
    monkeypatch.setattr(context, "HEALTH", lambda: report)
    page = client.get("/status/").content.decode()
    assert "Something needs a person." in page and "away" in page and "Works" in page
