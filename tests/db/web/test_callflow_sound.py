"""The words of the line: recorded, brought or spoken, heard and used; by telephone too."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from tests.db.web.callflow_forms import Browser, draft, seconds_of
from tests.factories import House, tone

from nightbell.core.clock import utc_now
from nightbell.core.sound import Decoded
from nightbell.flow import words as flow_words
from nightbell.flow.line import Line
from nightbell.flow.model import CallConfig, State
from nightbell.flow.plan import LOCKED, BadPlan, Plan
from nightbell.flow.plan import from_dict as plan_from_dict
from nightbell.line import service as lines
from nightbell.line.models import Clip, TryNumber
from nightbell.people.roles import Role
from nightbell.web import callflow_sound


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
