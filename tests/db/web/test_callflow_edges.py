"""The line's pages at their edges: what no page of ours sends, what two do at once, what only the phone knows."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from tests.db.web.conftest import Https
from tests.factories import House, tone

from nightbell.core.clock import utc_now
from nightbell.core.sound import MOST_SECONDS, Decoded, SoundUnavailable
from nightbell.flow.plan import Plan
from nightbell.line import service as lines
from nightbell.line.models import Clip, TryNumber
from nightbell.people.roles import Role
from nightbell.web import callflow_forms as forms
from nightbell.web import callflow_recording, callflow_sound, context

Browser = Callable[[Role], Https]
LINE = {"at": "closed", "node": "greeting", "lang": "en"}


class Ear:
    """Decodes whatever it gets to two seconds of a tone, and notes for how many seconds it was asked."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def decode(self, data: bytes, seconds: float = MOST_SECONDS) -> Decoded:
        import numpy as np

        self.asked.append(seconds)
        samples = np.frombuffer(tone(2.0), "<i2").astype(np.float32) / 32768
        return Decoded(samples.tobytes(), 8000)


@pytest.fixture
def ear() -> Any:
    before, callflow_sound.DECODER = callflow_sound.DECODER, Ear()
    yield callflow_sound.DECODER
    callflow_sound.DECODER = before


# What no page of ours sends.


def test_a_number_of_thousands_of_digits_is_refused(browser: Browser) -> None:
    client = browser(Role.MANAGER)
    for part, field, good in (("message", "max_seconds", "000180"), ("promise", "promise", "000060")):
        answer = client.post("/line/edit", LINE | {"node": part, "part": part, field: good + "0" * 5000})
        assert answer.status_code == 422 and "from the list" in answer.content.decode(), part


@pytest.mark.parametrize("depth", [400, 5_000, 30_000])
def test_what_is_nested_too_deep_to_be_read_is_refused(browser: Browser, depth: int) -> None:
    client = browser(Role.MANAGER)
    nest = "[" * depth + "]" * depth
    for body in (nest, f'{{"at": {nest}}}', f'{{"events": [[0, "key", {nest}]]}}'):
        answer = client.post("/line/try/step", body, content_type="application/json")
        assert answer.status_code == 422, body[:20]


def test_what_is_no_text_in_a_call_to_try_is_refused(browser: Browser) -> None:
    for name in ("at", "caller", "language", "status"):
        body = {"which": "live", "events": [[0, "answered", None]], name: [["x"]]}
        answer = browser(Role.MANAGER).post(
            "/line/try/step", json.dumps(body), content_type="application/json"
        )
        assert answer.status_code == 422, name


def test_a_text_with_a_nul_is_refused(house: House, browser: Browser, ear: Ear) -> None:
    client = browser(Role.MANAGER)
    sent = LINE | {"clip": "practice-name", "clip_lang": "en", "how": "upload"}
    for field in ("words", "clip", "clip_lang"):
        answer = client.post(
            "/line/recording", sent | {field: sent.get(field, "Maple") + "\0", "file": BytesIO(b"x")}
        )
        assert answer.status_code == 400, field
    for address in ("/line/recording/number", "/line/recording/use"):
        for field in ("clip", "clip_lang", "sha256", "lang"):
            typed = {"sha256": "a" * 64, "stop": "yes", "revision": "1"} | sent
            answer = client.post(address, typed | {field: "x\0"})
            assert answer.status_code == 400, (address, field)
    assert client.get("/line/recording/news?clip=x%00&lang=en").status_code == 400
    assert client.get("/line/clip/en/goodbye.wav?own=x%00").status_code == 404
    assert not Clip.objects.exists()


# Holidays that the page did not show.


def test_a_kept_holiday_that_is_not_on_the_page_stays_kept() -> None:
    plan = Plan(observed=("Labor Day", "Christmas Day", "Inauguration Day"))
    fields = {"part": ["holidays"], "observed": ["Labor Day"]}
    shown = ["Labor Day", "Christmas Day", "Veterans Day"]
    changed = forms.holidays(forms.Typed(fields), plan, shown, [], lambda state: [])
    assert changed.observed == ("Labor Day", "Inauguration Day")


# A number in a link.


def test_only_a_number_in_force_of_this_person_is_shown(house: House, other: House, browser: Browser) -> None:
    from tests.db.web.conftest import signed_in

    client = browser(Role.MANAGER)
    mine = lines.try_number(house.actor(Role.MANAGER)).dialled

    def shown(number: str, who: Https = client) -> bool:
        return "Call the draft at" in who.get("/line/", {"try": number}).content.decode()

    assert shown(mine)
    assert not shown("try-000000"), "made up"
    assert not shown(mine, browser(Role.CLINICIAN)), "another person's"
    assert not shown(mine, signed_in(other.people[Role.MANAGER])), "another practice's"
    recording = lines.record_number(house.actor(Role.MANAGER), "practice-name", "en").dialled
    assert not shown(recording), "it leads to no draft"
    mine = lines.try_number(house.actor(Role.MANAGER)).dialled
    assert shown(mine)
    TryNumber.objects.filter(dialled=mine).update(expires_at=utc_now() - timedelta(seconds=1))
    assert not shown(mine), "over"


# What callers hear now.


def test_it_is_heard_as_the_phone_has_it_not_as_it_was_published(house: House, browser: Browser) -> None:
    manager, client = house.actor(Role.MANAGER), browser(Role.FRONT_DESK)
    phones = [{"lines": {house.practice.id: 1}, "age_s": 1.0}]
    before, context.HEALTH = context.HEALTH, lambda: {"ok": True, "checks": {}, "phones": phones}
    try:
        first = client.get("/line/hear?lang=en").content
        view = lines.draft(manager)
        english = replace(view.plan, languages=("en",))
        lines.publish(manager, lines.save(manager, view.revision, english))
        assert client.get("/line/hear?lang=en").content == first, "the phone still has version 1"
        phones[0]["lines"][house.practice.id] = 2  # type: ignore[index]
        second = client.get("/line/hear?lang=en").content
    finally:
        context.HEALTH = before
    assert len(second) < len(first), "no Spanish is offered any more"


# A file that costs.


def test_a_file_is_read_to_twice_what_its_place_takes(house: House, browser: Browser, ear: Ear) -> None:
    sent = LINE | {"clip": "practice-name", "how": "upload", "file": BytesIO(b"x")}
    assert browser(Role.MANAGER).post("/line/recording", sent).status_code == 302
    assert ear.asked == [12.0 + callflow_recording.SPARE]


def test_one_file_is_read_at_a_time(ear: Ear) -> None:
    """Two come at once: the second begins when the first is done."""
    at_once, most, started = 0, 0, threading.Event()
    decode = ear.decode

    def slow(data: bytes, seconds: float = MOST_SECONDS) -> Decoded:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        started.wait(0.2)
        at_once -= 1
        return decode(data, seconds)

    ear.decode = slow  # type: ignore[method-assign]
    brought = callflow_recording.Brought(b"x", "", "upload")
    both = [
        threading.Thread(target=callflow_recording.finished, args=(brought, "practice-name", "en"))
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join(10)
    assert (most, len(ear.asked)) == (1, 2)


def test_who_would_wait_too_long_for_their_turn_is_told(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callflow_recording, "_LONGEST_WAIT", 0.05)
    brought = callflow_recording.Brought(b"x", "", "upload")
    with callflow_recording._one_at_a_time, pytest.raises(SoundUnavailable, match="minute"):
        callflow_recording.finished(brought, "practice-name", "en")
