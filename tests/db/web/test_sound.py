"""Sound over HTTP: ranges, grants, and how much was heard."""

from __future__ import annotations

import wave
from collections.abc import Callable
from io import BytesIO

import pytest
from tests.db.web.conftest import Https
from tests.factories import House, make_message

from nightbell.audit.models import Event
from nightbell.mailbox.models import Hearing, Message
from nightbell.people.roles import Role
from nightbell.web.ranges import PIECE


@pytest.fixture
def message(house: House) -> Message:
    return make_message(house.mailbox, seconds=40)


def plays(house: House) -> int:
    return Event.objects.filter(log_id=house.practice.id, action="message:play").count()


def test_it_plays_in_pieces_under_one_grant(
    house: House, browser: Callable[[Role], Https], message: Message
) -> None:
    client, got, total = browser(Role.CLINICIAN), b"", 1
    while len(got) < total:
        answer = client.get(f"/m/{message.id}/audio", HTTP_RANGE=f"bytes={len(got)}-")
        assert answer.status_code == 206
        assert len(answer.content) <= PIECE
        assert answer["Accept-Ranges"] == "bytes"
        stretch, _, whole = answer["Content-Range"].removeprefix("bytes ").partition("/")
        total = int(whole)
        assert stretch == f"{len(got)}-{len(got) + len(answer.content) - 1}"
        got += answer.content
    assert plays(house) == 1
    with wave.open(BytesIO(got)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getnframes()) == (8000, 1, 320_000)


def test_it_gives_the_whole_to_who_asks_for_no_range(
    house: House, browser: Callable[[Role], Https], message: Message
) -> None:
    answer = browser(Role.CLINICIAN).get(f"/m/{message.id}/audio")
    assert answer.status_code == 200
    assert len(answer.content) == 640_044 == int(answer["Content-Length"])
    assert plays(house) == 1


def test_it_gives_a_middle_and_an_end(
    house: House, browser: Callable[[Role], Https], message: Message
) -> None:
    client = browser(Role.CLINICIAN)
    whole = client.get(f"/m/{message.id}/audio").content
    middle = client.get(f"/m/{message.id}/audio", HTTP_RANGE="bytes=100000-100099")
    assert middle.content == whole[100_000:100_100]
    end = client.get(f"/m/{message.id}/audio", HTTP_RANGE="bytes=-50")
    assert end.content == whole[-50:]
    assert end["Content-Range"] == "bytes 639994-640043/640044"


@pytest.mark.parametrize("header", ["bytes=640044-", "bytes=99999999-", "bytes=-0"])
def test_it_refuses_what_is_not_there(
    browser: Callable[[Role], Https], message: Message, header: str
) -> None:
    assert browser(Role.CLINICIAN).get(f"/m/{message.id}/audio", HTTP_RANGE=header).status_code == 416


@pytest.mark.parametrize("header", ["bytes=9-3", "furlongs=1-2", "bytes=0-1,4-5", "nonsense"])
def test_it_ignores_a_range_that_makes_no_sense(
    browser: Callable[[Role], Https], message: Message, header: str
) -> None:
    assert browser(Role.CLINICIAN).get(f"/m/{message.id}/audio", HTTP_RANGE=header).status_code == 200


def test_sound_is_never_cached(browser: Callable[[Role], Https], message: Message) -> None:
    assert (
        browser(Role.CLINICIAN).get(f"/m/{message.id}/audio", HTTP_RANGE="bytes=0-9")["Cache-Control"]
        == "no-store"
    )


def test_it_writes_down_how_much_was_heard(
    house: House, browser: Callable[[Role], Https], message: Message
) -> None:
    client = browser(Role.CLINICIAN)
    client.get(f"/m/{message.id}/audio", HTTP_RANGE="bytes=0-")
    assert client.post(f"/m/{message.id}/heard", {"seconds": "16.20"}).status_code == 204
    assert Hearing.objects.get().heard_ms == 16_200
    page = client.get(f"/m/{message.id}/").content.decode()
    assert "0:16 of 0:40" in page


@pytest.mark.parametrize("seconds", ["", "NaN", "-3", "1e9", "9" * 30, "0x10"])
def test_a_wrong_figure_counts_as_nothing(
    house: House, browser: Callable[[Role], Https], message: Message, seconds: str
) -> None:
    client = browser(Role.CLINICIAN)
    client.get(f"/m/{message.id}/audio", HTTP_RANGE="bytes=0-99")
    assert client.post(f"/m/{message.id}/heard", {"seconds": seconds}).status_code == 204
    assert Hearing.objects.get().heard_ms == 0


def test_a_grant_is_of_one_session(house: House, browser: Callable[[Role], Https], message: Message) -> None:
    browser(Role.CLINICIAN).get(f"/m/{message.id}/audio", HTTP_RANGE="bytes=0-9")
    browser(Role.CLINICIAN).get(f"/m/{message.id}/audio", HTTP_RANGE="bytes=10-19")  # another session
    assert plays(house) == 2


def test_head_opens_nothing_more_than_get(
    house: House, browser: Callable[[Role], Https], message: Message
) -> None:
    answer = browser(Role.CLINICIAN).head(f"/m/{message.id}/audio", HTTP_RANGE="bytes=0-9")
    assert answer.status_code == 206 and plays(house) == 1
