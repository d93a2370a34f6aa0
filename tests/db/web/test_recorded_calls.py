"""Recorded call backs in the pages: the decision with its reason, and what there is to hear of a message."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.db.talks import called_back, tape
from tests.db.web.conftest import Https
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.mailbox import intake
from nightbell.oncall import recording, voice
from nightbell.oncall.models import CallBack
from nightbell.people.models import RiskAcceptance
from nightbell.people.roles import Role

WHY = "Our malpractice insurer asks for it."
Browser = Callable[[Role], Https]


def body(client: Https, path: str) -> str:
    return re.sub(r"\s+", " ", client.get(path).content.decode())


def test_a_manager_decides_it_and_takes_it_back(house: House, browser: Browser) -> None:
    client, practice = browser(Role.MANAGER), house.practice.id
    page = body(client, "/oncall/policies")
    assert "Not recorded.</b> Nobody is asked." in page
    assert "California Penal Code 632" in page
    day = f"{utc_now() + timedelta(days=40):%Y-%m-%d}"
    answer = client.post("/oncall/recording/allow", {"reason": WHY, "until": day})
    assert (answer.status_code, answer["Location"]) == (302, "/oncall/policies?did=recording#recording")
    assert voice.may_record(practice, utc_now())
    page = body(client, "/oncall/policies?did=recording")
    assert "Patients are asked, and recorded who agree." in page
    assert WHY in page and house.people[Role.MANAGER].name in page
    seen = body(browser(Role.CLINICIAN), "/oncall/policies")
    assert "Patients are asked, and recorded who agree." in seen and "/oncall/recording/" not in seen
    assert client.post("/oncall/recording/withdraw").status_code == 302
    assert client.post("/oncall/recording/withdraw").status_code == 302
    assert not voice.may_record(practice, utc_now())


@pytest.mark.parametrize(
    ("reason", "until", "words"),
    [
        ("no", "2099-01-01", "nobody could judge"),
        (WHY, "2020-01-01", "the day is past"),
        (WHY, "soon", "cannot be read"),
    ],
)
def test_what_cannot_be_decided_is_told_and_kept(
    house: House, browser: Browser, reason: str, until: str, words: str
) -> None:
    answer = browser(Role.MANAGER).post("/oncall/recording/allow", {"reason": reason, "until": until})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "Nothing was decided" in page and words in page
    assert f">{reason}</textarea>" in page
    assert not RiskAcceptance.objects.exists()


def test_nobody_else_decides_it(house: House, browser: Browser) -> None:
    for role in (Role.CLINICIAN, Role.COMPLIANCE):
        for what in ("allow", "withdraw"):
            assert browser(role).post(f"/oncall/recording/{what}", {"reason": WHY}).status_code == 403
    assert not RiskAcceptance.objects.exists()


def test_the_message_says_how_it_was_and_plays_it(house: House, browser: Browser) -> None:
    message, row = called_back(house)
    client, address = browser(Role.CLINICIAN), f"/m/{message.id}/call/{row.id}/audio"
    assert "The recording is here once the call has ended" in body(client, f"/m/{message.id}/")
    assert client.get(address).status_code == 404
    intake.take_in(tape(row.id), utc_now())
    page = body(client, f"/m/{message.id}/")
    assert re.search(r"Recorded with consent at [0-9:]+, 0:02", page)
    assert f'src="{address}"' in page
    assert "The patient agreed</b> to be recorded, 0:02" in page
    plays = Event.objects.filter(action="message:play")
    assert not plays.exists(), "to look is not to play"
    first = client.get(address, HTTP_RANGE="bytes=0-999")
    assert (first.status_code, first["Content-Range"], len(first.content)) == (206, "bytes 0-999/80044", 1000)
    assert first.content.startswith(b"RIFF")
    assert client.get(address, HTTP_RANGE="bytes=1000-").status_code == 206
    assert plays.count() == 1
    assert client.get(address, HTTP_RANGE="bytes=90000-").status_code == 416
    seen = browser(Role.DISPATCHER)
    assert address not in body(seen, f"/m/{message.id}/")
    assert seen.get(address).status_code == 403
    assert client.get(f"/m/{message.id}/call/{message.id}/audio").status_code == 404


def test_without_consent_it_says_so(house: House, browser: Browser) -> None:
    message, _ = called_back(house, agreed=False)
    page = body(browser(Role.CLINICIAN), f"/m/{message.id}/")
    assert "Not recorded (the patient did not agree)" in page
    assert "<audio class" not in page


def test_a_yes_of_which_nothing_came_is_told(house: House, browser: Browser) -> None:
    message, row = called_back(house)
    CallBack.objects.filter(pk=row.pk).update(ended_at=utc_now() - timedelta(minutes=3))
    assert "but nothing was recorded" in body(browser(Role.CLINICIAN), f"/m/{message.id}/")


def test_another_practice_hears_nothing(house: House, browser: Browser) -> None:
    from tests.db.web.conftest import signed_in
    from tests.factories import make_house

    message, row = called_back(house)
    intake.take_in(tape(row.id), utc_now())
    other = signed_in(make_house("CD34", "5035550200").people[Role.CLINICIAN])
    assert other.get(f"/m/{message.id}/call/{row.id}/audio").status_code == 404


def test_before_a_call_the_page_says_whether_they_are_asked(house: House, browser: Browser) -> None:
    recording.allow(house.actor(Role.MANAGER), WHY, utc_now() + timedelta(days=30))
    assert recording.stands(house.actor(Role.CLINICIAN)).asked
