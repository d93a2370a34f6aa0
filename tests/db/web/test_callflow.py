"""The pages of the line: edited in a draft, published as a version, tried out, heard."""

from __future__ import annotations

import wave
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.db.web.conftest import Https
from tests.factories import House, make_message, tone

from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.core.sound import Decoded
from nightbell.flow import words as flow_words
from nightbell.flow.line import Line
from nightbell.flow.model import CallConfig, State
from nightbell.flow.plan import HOLIDAYS, LOCKED, BadPlan, MenuKey, Plan
from nightbell.flow.plan import from_dict as plan_from_dict
from nightbell.line import rules
from nightbell.line import service as lines
from nightbell.line.models import Clip, Closure, Draft, TryNumber, Version
from nightbell.mailbox.models import Message
from nightbell.oncall.models import Schedule
from nightbell.people.models import Contact
from nightbell.people.roles import Role
from nightbell.server import line_status
from nightbell.web import callflow_data, callflow_forms, callflow_sound, context, gave_up

Browser = Callable[[Role], Https]


class Forms(HTMLParser):
    """The fields of each form of a page, by the form's address and part."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, Any]]] = []
        self.select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append((has.get("action", ""), {}))
        elif not self.found:
            return
        elif tag == "input" and has.get("type") in ("checkbox", "radio"):
            if "checked" in has:
                self.fields.setdefault(has["name"], []).append(has["value"])
        elif tag == "input" and has.get("name"):
            self.fields[has["name"]] = has.get("value", "")
        elif tag == "select":
            self.select = has.get("name", "")
        elif tag == "option" and ("selected" in has or self.select not in self.fields):
            self.fields[self.select] = has.get("value", "")

    @property
    def fields(self) -> dict[str, Any]:
        return self.found[-1][1]

    def of(self, part: str) -> dict[str, Any]:
        fields = next(fields for _, fields in self.found if fields.get("part") == part)
        fields.pop("csrfmiddlewaretoken")
        return fields


def panel(client: Https, node: str, part: str = "", **more: str) -> dict[str, Any]:
    """The form of a panel as the page gives it."""
    page = client.get("/line/", {"node": node, "at": "closed"} | more).content.decode()
    return Forms(page).of(part or node)


def seconds_of(wav: bytes) -> float:
    with wave.open(BytesIO(wav)) as file:
        assert (file.getframerate(), file.getsampwidth()) == (8000, 2)
        return file.getnframes() / 8000


def draft(house: House) -> lines.DraftView:
    return lines.draft(house.actor(Role.MANAGER))


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


class Ear:
    """Decodes whatever it gets to the same two seconds of a tone."""

    def decode(self, data: bytes, seconds: float = 120.0) -> Decoded:
        import numpy as np

        samples = np.frombuffer(tone(2.0), "<i2").astype(np.float32) / 32768
        return Decoded(samples.tobytes(), 8000)


@pytest.fixture
def ear() -> Any:
    before, callflow_sound.DECODER = callflow_sound.DECODER, Ear()
    yield
    callflow_sound.DECODER = before


def test_an_own_recording_is_levelled_heard_and_then_used(house: House, browser: Browser, ear: None) -> None:
    client = browser(Role.MANAGER)
    sent = {
        "clip": "own-greeting-closed",
        "at": "closed",
        "node": "greeting",
        "lang": "en",
        "how": "upload",
        "words": "We are shut.",
    }
    answer = client.post("/line/recording", sent | {"file": BytesIO(b"RIFF....")})
    made = Clip.objects.get(practice=house.practice)
    assert f"take={made.id}" in answer["Location"] and not draft(house).there
    page = client.get(answer["Location"].partition("#")[0]).content.decode()
    assert "As loud as the other prompts" in page and "Use it" in page and "We are shut." in page
    sound = client.get(f"/line/clip/en/own-greeting-closed.wav?own={made.sha256}")
    assert "immutable" in sound["Cache-Control"]
    assert seconds_of(sound.content) == pytest.approx(2.0, abs=0.3)
    use = {"clip": made.clip, "sha256": made.sha256, "lang": "en", "revision": draft(house).revision}
    assert client.post("/line/recording/use", use).status_code == 302
    assert draft(house).plan.clips == {"en/own-greeting-closed": made.sha256}
    assert "Until it is there, callers hear ours" in client.get("/line/?at=closed").content.decode()


def test_a_recording_of_another_practice_cannot_be_heard(
    house: House, other: House, browser: Browser, ear: None
) -> None:
    from tests.db.web.conftest import signed_in

    sent = {"clip": "practice-name", "lang": "en", "how": "upload", "file": BytesIO(b"x")}
    signed_in(other.people[Role.MANAGER]).post("/line/recording", sent)
    theirs = Clip.objects.get(practice=other.practice).sha256
    assert browser(Role.MANAGER).get(f"/line/clip/en/practice-name.wav?own={theirs}").status_code == 404
    assert browser(Role.MANAGER).get("/line/clip/en/no-such.wav").status_code == 404


def test_a_file_that_is_too_large_or_no_file_is_told_clearly(
    house: House, browser: Browser, ear: None
) -> None:
    client = browser(Role.MANAGER)
    sent = {"clip": "practice-name", "node": "greeting", "lang": "en", "how": "upload"}
    answer = client.post("/line/recording", sent | {"file": BytesIO(bytes(20_100_000))})
    assert answer.status_code == 413 and "20 MB" in answer.content.decode()
    answer = client.post("/line/recording", sent | {"words": "Maple Street"})
    page = answer.content.decode()
    assert answer.status_code == 422 and "There is no file." in page and "Maple Street</textarea>" in page


# Every word of ours may be the practice's.


def test_each_panel_offers_the_words_that_are_said_there(house: House, browser: Browser, ear: None) -> None:
    client = browser(Role.MANAGER)
    page = client.get("/line/?at=closed&node=callback").content.decode()
    assert "Our words, or yours" in page and "To give us a different number," in page
    assert '<details class="mt-5 border-t border-line pt-4">' in page, "closed until it is asked for"
    assert "data-recorder" not in page
    page = client.get("/line/?at=closed&node=callback&clip=callback-other").content.decode()
    assert (
        '<details class="mt-5 border-t border-line pt-4" open>' in page and page.count("data-recorder ") == 1
    )
    sent = {
        "clip": "callback-other",
        "node": "callback",
        "lang": "en",
        "how": "upload",
        "file": BytesIO(b"x"),
    }
    answer = client.post("/line/recording", sent)
    made = Clip.objects.get(practice=house.practice)
    assert made.clip == "callback-other"
    assert "Use it" in client.get(answer["Location"].partition("#")[0]).content.decode()
    use = {
        "clip": made.clip,
        "sha256": made.sha256,
        "lang": "en",
        "node": "callback",
        "revision": draft(house).revision,
    }
    client.post("/line/recording/use", use)
    assert draft(house).plan.clips == {"en/callback-other": made.sha256}
    page = client.get("/line/?at=closed&node=promise").content.decode()
    step = page[page.index('id="step-callback"') :]
    assert "changed" in step[: step.index("</a>")]


def test_nobody_replaces_the_911_words(house: House, browser: Browser, ear: None) -> None:
    client = browser(Role.MANAGER)
    for clip in LOCKED:
        sent = {"clip": clip, "node": "emergency", "lang": "en", "how": "upload", "file": BytesIO(b"x")}
        answer = client.post("/line/recording", sent)
        assert answer.status_code == 422
        assert "911" in answer.content.decode()
        with pytest.raises(BadPlan, match="911"):
            plan_from_dict(replace(Plan(), clips={f"en/{clip}": "0" * 64}).to_dict())


def test_words_that_no_key_cuts_stay_so_in_another_voice(house: House) -> None:
    config = config_with({"en/notice-recorded": "0" * 64})
    said = flow_words.runs(("notice-recorded", "~200", "record-full"), config, State(language="en"))
    assert [(run.clips[0], run.barge) for run in said] == [("en/notice-recorded", False), ("~200", True)]


def config_with(clips: dict[str, str]) -> CallConfig:
    """A call on a line with recordings of its own."""
    return Line(plan=Plan(clips=clips)).config("", utc_now())


def test_a_recording_for_no_place_is_refused(house: House, browser: Browser, ear: None) -> None:
    client = browser(Role.MANAGER)
    for name in ("", "no-such-words", "own-key-9", "../x"):
        sent = {"clip": name, "lang": "en", "how": "upload", "file": BytesIO(b"x")}
        assert client.post("/line/recording", sent).status_code == 422, name
        use = {"clip": name, "sha256": "a" * 64, "lang": "en", "revision": draft(house).revision}
        assert client.post("/line/recording/use", use).status_code == 422, name
        assert client.post("/line/recording/number", {"clip": name, "lang": "en"}).status_code == 422, name
    assert not Clip.objects.exists() and not TryNumber.objects.exists() and not draft(house).there


# By telephone.


def test_a_clip_is_recorded_by_phone_and_used(house: House, browser: Browser, ear: None) -> None:
    client = browser(Role.MANAGER)
    where = {"at": "closed", "node": "greeting", "clip": "practice-name", "clip_lang": "es", "lang": "es"}
    answer = client.post("/line/recording/number", where)
    number = TryNumber.objects.get()
    assert (number.clip, number.language) == ("practice-name", "es")
    page = client.get(answer["Location"].partition("#")[0]).content.decode()
    assert (
        f"sip:{number.dialled}@127.0.0.1:5060" in page
        and "press pound" in page
        and 'hx-trigger="every 3s"' in page
    )
    news = "/line/recording/news?at=closed&node=greeting&lang=es&clip=practice-name"
    assert client.get(news).status_code == 204
    TryNumber.objects.update(trouble="Nothing could be heard. Record it again.")
    assert "Nothing could be heard." in client.get(news).content.decode()
    assert client.get(news + "&seen=1").status_code == 204
    sent = {"clip": "practice-name", "lang": "es", "how": "upload", "file": BytesIO(b"x")}
    client.post("/line/recording", sent)
    made = Clip.objects.get()
    TryNumber.objects.update(trouble="", kept=made)
    part = client.get(news).content.decode()
    assert "Use it" in part and made.sha256 in part and "every 3s" not in part
    use = {"clip": made.clip, "sha256": made.sha256, "lang": "es", "revision": draft(house).revision}
    client.post("/line/recording/use", use)
    assert draft(house).plan.clips == {"es/practice-name": made.sha256}
    assert not TryNumber.objects.exists(), "it is decided on"


def test_recording_by_phone_is_given_up(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    where = {"node": "greeting", "clip": "practice-name", "clip_lang": "en", "lang": "en"}
    client.post("/line/recording/number", where)
    assert client.post("/line/recording/number", where | {"stop": "yes"}).status_code == 302
    assert not TryNumber.objects.exists()
    assert "every 3s" not in client.get("/line/?node=greeting&lang=en").content.decode()


def test_the_draft_is_called_at_an_address_that_is_there(
    house: House, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = browser(Role.MANAGER)
    monkeypatch.setenv("NIGHTBELL_SIP_PORT", "5070")
    answer = client.post("/line/number", {"at": "closed", "node": "menu"})
    number = TryNumber.objects.get().dialled
    assert f"sip:{number}@127.0.0.1:5070" in client.get(answer["Location"].partition("#")[0]).content.decode()
    monkeypatch.setenv("NIGHTBELL_URL", "https://bell.example:8443")
    for bind, host in (("0.0.0.0", "bell.example"), ("::", "bell.example"), ("2001:db8::1", "[2001:db8::1]")):
        monkeypatch.setenv("NIGHTBELL_BIND", bind)
        assert lines.sip_address("try-000001") == f"sip:try-000001@{host}:5070"


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
