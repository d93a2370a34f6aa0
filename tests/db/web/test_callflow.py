"""The pages of the line: edited in a draft, published as a version, told when damaged, counted."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from tests.db.web.callflow_forms import Browser, Forms, draft, panel, seconds_of
from tests.factories import House, make_message

from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.flow.plan import HOLIDAYS, MenuKey, Plan
from nightbell.line import rules
from nightbell.line import service as lines
from nightbell.line.models import Closure, Draft, Version
from nightbell.mailbox.models import Message
from nightbell.oncall.models import Schedule
from nightbell.people.models import Contact
from nightbell.people.roles import Role
from nightbell.server import line_status
from nightbell.web import callflow_data, callflow_forms, context, gave_up


def test_the_page_shows_what_a_caller_hears_from_the_top(house: House, browser: Browser) -> None:
    page = browser(Role.CLINICIAN).get("/line/?at=closed").content.decode()
    steps = [
        "911 words",
        "Para español",
        "Our office is closed right now.",
        "If you are sick or hurt",
        "Review",
        "Promise",
    ]
    places = [page.index(words) for words in steps]
    assert places == sorted(places)
    assert "No dead ends." in page and "always first" in page
    assert "Keep in the draft" not in page and "Publish" not in page, "a clinician may look, not change"
    assert "No lunch break is set" in browser(Role.MANAGER).get("/line/?at=lunch&lang=es").content.decode()


def test_hours_are_changed_in_the_draft_and_heard_after_publishing(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    fields = panel(client, "hours")
    answer = client.post(
        "/line/edit", fields | {"opens-0": "8:30 am", "lunch-0": "12:00", "lunch-end-0": "13:00"}
    )
    assert answer.status_code == 302 and "#panel" in answer["Location"]
    assert (
        draft(house).plan.week[0].opens == 510
        and lines.plan_of(lines.current(house.practice.id)).week[0].opens == 480
    )
    page = client.get("/line/?confirm=publish").content.decode()
    assert "Monday now opens 8:30" in page and "Publish version 2?" in page
    answer = client.post("/line/publish", {"revision": draft(house).revision})
    assert answer.status_code == 302
    assert lines.plan_of(lines.current(house.practice.id)).week[0].opens == 510


def test_monday_is_copied_to_the_weekdays(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    client.post(
        "/line/edit", panel(client, "hours") | {"opens-0": "07:00", "opens-2": "nonsense", "copy": "yes"}
    )
    assert [day.opens for day in draft(house).plan.week] == [420] * 5 + [None, None]


def test_a_wrong_time_is_told_at_its_field_and_nothing_is_lost(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    answer = client.post("/line/edit", panel(client, "hours") | {"opens-1": "half past", "closes-3": "18:15"})
    page = answer.content.decode()
    assert answer.status_code == 422 and "Nothing was changed" in page
    assert "Tue: “half past” is no time." in page and 'value="half past"' in page and 'value="18:15"' in page
    assert not draft(house).there


def test_a_form_that_is_none_of_ours_changes_nothing(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    for part in ("", "x", *callflow_forms.PARTS, "holidays", "key"):
        sent = {
            "part": part,
            "revision": "999",
            "opens-0": "25:99",
            "state": "ZZ",
            "second": "call me",
            "day": "soon",
        }
        assert client.post("/line/edit", sent).status_code in (409, 422), part
    for sent in ({"from_day": "9999-12-31", "from_time": "x"}, {"to_day": "0001-01-01", "to_time": "24:00"}):
        assert client.post("/line/closure", sent).status_code == 422
    assert not draft(house).there and not Closure.objects.exists()


def test_two_managers_at_once_lose_nothing(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    mine = panel(client, "promise")
    client.post("/line/edit", panel(client, "hours") | {"opens-0": "07:15"})  # the other one is faster
    answer = client.post("/line/edit", mine | {"promise": "60"})
    page = answer.content.decode()
    assert answer.status_code == 409
    assert f"{house.people[Role.MANAGER].name} changed the draft" in page and "Load theirs" in page
    again = Forms(page).of("promise")
    assert again["promise"] == "60", "what was chosen stands there still"
    assert client.post("/line/edit", again).status_code == 302
    assert (draft(house).plan.promise, draft(house).plan.week[0].opens) == (60, 435)


def test_publishing_an_older_sight_of_the_draft_is_refused(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    client.post("/line/edit", panel(client, "promise") | {"promise": "60"})
    seen = draft(house).revision
    client.post("/line/edit", panel(client, "promise") | {"promise": "45"})
    assert client.post("/line/publish", {"revision": seen}).status_code == 409
    assert Version.objects.filter(practice=house.practice).count() == 1


def test_the_menu_gains_moves_and_loses_a_choice(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    new = panel(client, "key-new", "key")
    assert new["key"] == "4"
    client.post(
        "/line/edit",
        new | {"stem": "menu-refill", "mailbox": house.second.id, "asks": "refill", "does": "message"},
    )
    assert draft(house).plan.keys[-1] == MenuKey("4", "menu-refill", mailbox=house.second.id, asks="refill")
    client.post("/line/edit", panel(client, "menu", "key-moved") | {"old": "4", "way": "up"})
    assert [k.key for k in draft(house).plan.keys] == ["1", "2", "4", "3"]
    answer = client.post("/line/edit", panel(client, "key-4", "key") | {"key": "1"})
    assert answer.status_code == 422 and "Key 1 has a choice already" in answer.content.decode()
    client.post("/line/edit", panel(client, "key-4", "key-gone"))
    assert [k.key for k in draft(house).plan.keys] == ["1", "2", "3"]


def test_a_choice_that_was_moved_on_an_old_page_stays_one_choice(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    mine = panel(client, "key-3", "key") | {"key": "5", "node": "key-3"}
    client.post("/line/edit", panel(client, "promise") | {"promise": "60"})
    again = Forms(client.post("/line/edit", mine).content.decode()).of("key")
    assert (again["old"], again["key"]) == ("3", "5")
    client.post("/line/edit", again)
    assert [k.key for k in draft(house).plan.keys] == ["1", "2", "5"]


def test_words_of_its_own_that_are_missing_stand_in_the_way(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    client.post("/line/edit", panel(client, "key-2", "key") | {"stem": "own"})
    page = client.get("/line/").content.decode()
    assert "stand in the way of publishing" in page and "node=key-2&amp;lang=es" in page
    assert client.post("/line/publish", {"revision": draft(house).revision})["Location"].endswith("#report")
    assert Version.objects.filter(practice=house.practice).count() == 1


def test_closing_at_once_needs_no_publishing(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    client.post("/line/close", {"visits": "yes"})
    assert Closure.objects.get(practice=house.practice).visits
    assert "You are closed now" in browser(Role.FRONT_DESK).get("/line/").content.decode()
    client.post("/line/open")
    assert "You are closed now" not in client.get("/line/").content.decode()


def test_a_closing_that_is_over_is_refused_with_what_was_typed(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    here = utc_now().astimezone(ZoneInfo(house.practice.zone)).date()
    past = {
        "from_day": here - timedelta(days=3),
        "from_time": "9:15 am",
        "to_day": here - timedelta(days=2),
        "to_time": "17:00",
    }
    answer = client.post("/line/closure", past | {"node": "closures"})
    page = answer.content.decode()
    assert answer.status_code == 422 and "This is over already" in page and 'value="9:15 am"' in page
    client.post("/line/closure", past | {"to_day": here + timedelta(days=2)})
    assert Closure.objects.filter(practice=house.practice).count() == 1


def test_holidays_are_of_the_state_and_ticked_one_by_one(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    client.post("/line/edit", panel(client, "holidays") | {"state": "CA", "observed": ["Labor Day"]})
    assert (draft(house).plan.state, draft(house).plan.observed) == ("CA", HOLIDAYS)
    fields = panel(client, "holidays")
    assert set(fields["observed"]) == set(HOLIDAYS), "not every day that the state has"
    fields["observed"].remove("Christmas Day")
    client.post("/line/edit", fields)
    observed = draft(house).plan.observed
    assert observed is not None and "Christmas Day" not in observed and "Labor Day" in observed
    client.post(
        "/line/edit", panel(client, "holidays", "own-day") | {"day": "2027-06-04", "name": "Staff day"}
    )
    assert draft(house).plan.own_days[0].name == "Staff day"


# What is damaged.


def test_a_damaged_line_is_told_with_its_mend(house: House, browser: Browser) -> None:
    manager = house.actor(Role.MANAGER)
    lines.publish(manager, lines.save(manager, draft(house).revision, Plan(promise=60)))
    for text in ("{", "[]", '{"languages": []}'):
        Version.objects.filter(number=2).update(plan=text)
        client = browser(Role.MANAGER)
        answer = client.get("/line/?at=open&node=menu")
        page = answer.content.decode()
        assert answer.status_code == 409 and "Version 2 of the call flow cannot be read" in page
        assert "callers hear version 1" in page and "versions?back=1#v1" in page
        assert "Tell your office manager" in browser(Role.CLINICIAN).get("/line/").content.decode()
        page = client.get("/line/versions").content.decode()
        assert "Version 2 is damaged and cannot be read." in page and "Callers hear version 1" in page
        for path in ("/line/try", "/line/versions/2"):
            assert client.get(path).status_code == 409
        assert client.post("/line/edit", {"part": "promise"}).status_code == 409
    [told] = line_status.read(load(), utc_now())
    assert (told["damaged"], told["instead"], told["now"]) == (True, 1, "")
    assert any("Bring back an older version" in line for line in line_status.told([told]))
    assert client.post("/line/close").status_code == 302, "snow does not wait for it"
    assert client.post("/line/versions/1/back").status_code == 302
    assert client.get("/line/").status_code == 200
    assert not line_status.read(load(), utc_now())[0]["damaged"]


def test_a_damaged_draft_is_discarded(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    client.post("/line/edit", panel(client, "promise") | {"promise": "60"})
    Draft.objects.update(plan="{")
    answer = client.get("/line/")
    page = answer.content.decode()
    assert answer.status_code == 409 and "The draft of the call flow cannot be read" in page
    assert "the draft is damaged" in " ".join(line_status.told(line_status.read(load(), utc_now())))
    fields = next(fields for action, fields in Forms(page).found if action == "/line/discard")
    assert client.post("/line/discard", fields).status_code == 302
    assert client.get("/line/").status_code == 200


def test_a_second_look_at_the_same_draft_walks_no_way_again(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    client.post("/line/edit", panel(client, "promise") | {"promise": "60"})
    client.get("/line/")
    before = rules._walked.cache_info()
    client.get("/line/?node=menu")
    after = rules._walked.cache_info()
    assert (after.misses, after.hits > before.hits) == (before.misses, True)


def test_somebody_can_be_woken_by_the_rule_that_the_phone_has(house: House) -> None:
    actor = house.actor(Role.MANAGER)
    assert callflow_data.Desk(actor).team
    no_way = {"checks": {"notify": {"ok": False, "says": "no way is set up"}}}
    before, context.HEALTH = context.HEALTH, lambda: no_way
    try:
        assert not callflow_data.Desk(actor).team
    finally:
        context.HEALTH = before
    Schedule.objects.update(fallback=None)
    Contact.objects.filter(user__practice=house.practice).update(verified_at=None)
    assert not callflow_data.Desk(actor).team, "on call, but there is no address to wake them at"


def test_what_callers_hear_now_is_one_sound(house: House, browser: Browser) -> None:
    assert 20 < seconds_of(browser(Role.FRONT_DESK).get("/line/hear?lang=es").content) < 60


@pytest.mark.parametrize(
    ("version", "words"), [(1, "Version 1, confirmed"), (7, "1 is on its way"), (0, "Not confirmed")]
)
def test_it_tells_which_version_the_phone_has(
    house: House, browser: Browser, version: int, words: str
) -> None:
    phones = [{"lines": {house.practice.id: version}, "age_s": 4.2}] if version else [{"age_s": 3}]
    before, context.HEALTH = context.HEALTH, lambda: {"ok": True, "checks": {}, "phones": phones}
    try:
        page = browser(Role.IT_ADMIN).get("/line/").content.decode()
    finally:
        context.HEALTH = before
    assert words in " ".join(page.split())
    assert ("4 s</span> ago" in page) == bool(version)


# Versions, and who gave up.


def test_an_old_version_comes_back_with_two_clicks(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    client.post("/line/edit", panel(client, "promise") | {"promise": "60"})
    client.post("/line/publish", {"revision": draft(house).revision})
    page = client.get("/line/versions?back=1").content.decode()
    assert (
        "Urgent callers are now promised a call within 60 minutes" in page and "Bring back version 1?" in page
    )
    assert Version.objects.count() == 2, "asking changes nothing"
    client.post("/line/versions/1/back")
    assert lines.plan_of(lines.current(house.practice.id)).promise == 30
    assert "Brought back version 1." in client.get("/line/versions").content.decode()
    assert (
        client.get("/line/versions/2").status_code == 200
        and client.get("/line/versions/9").status_code == 404
    )


def test_it_counts_who_gave_up_where(house: House, other: House, browser: Browser) -> None:
    for reached in ("menu", "menu-again", "callback-enter.guided", "record", "what-nobody-knows"):
        row = make_message(house.mailbox, pcm=b"")
        Message.objects.filter(pk=row.pk).update(reached=reached, kind="missed")
    make_message(house.mailbox)
    for tags in (["test"], ["test", "studio"], ["studio:try-123456", "test"]):
        for kind in ("missed", "message"):
            Message.objects.filter(pk=make_message(house.mailbox, pcm=b"").pk).update(kind=kind, tags=tags)
    make_message(other.mailbox, pcm=b"")
    old = make_message(house.mailbox, pcm=b"")
    Message.objects.filter(pk=old.pk).update(received_at=utc_now() - timedelta(days=31), kind="missed")
    found = gave_up.picture(gave_up.counted(house.practice.id, utc_now() - timedelta(days=30)))
    assert {place.name: place.count for place in found.places if place.count} == {
        "The first words": 1, "Menu": 2, "Call-back number": 1, "After the tone": 1,
    }  # fmt: skip
    assert (found.messages, found.missed) == (1, 5)
    assert "of 6 calls" in browser(Role.DISPATCHER).get("/line/heard").content.decode()


def test_nobody_called_is_said(browser: Browser) -> None:
    assert "Nobody has called" in browser(Role.IT_ADMIN).get("/line/heard").content.decode()
