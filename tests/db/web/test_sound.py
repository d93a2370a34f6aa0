"""Sound over HTTP: ranges, grants, and how much was heard."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from io import BytesIO

import pytest
from tests.db.web.conftest import Https
from tests.factories import House, make_message

from nightbell.audit.models import Event
from nightbell.core.capture import Codec
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Hearing, Message, Note
from nightbell.people.roles import Role
from nightbell.store import vault
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
    house: House, browser: Callable[[Role], Https], message: Message, header: str
) -> None:
    answer = browser(Role.CLINICIAN).get(f"/m/{message.id}/audio", HTTP_RANGE=header)
    assert (answer.status_code, answer["Content-Range"]) == (416, "bytes */640044")
    assert plays(house) == 0 and not Hearing.objects.exists()


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


def test_head_is_no_play_and_gives_no_sound(
    house: House, browser: Callable[[Role], Https], message: Message, token: Callable[[Role], dict[str, str]]
) -> None:
    asked = [
        browser(Role.CLINICIAN).head(f"/m/{message.id}/audio"),
        Https().head(f"/api/v1/messages/{message.id}/audio", **token(Role.CLINICIAN)),
    ]
    for answer in asked:
        assert answer.status_code == 405 and b"RIFF" not in answer.content
    assert plays(house) == 0 and not Hearing.objects.exists()


@pytest.mark.parametrize("wanted", ["-600000", "-640044", "-50", "0-", "0-9", "500-"])
def test_one_request_is_one_play(
    house: House, browser: Callable[[Role], Https], wanted: str, token: Callable[[Role], dict[str, str]]
) -> None:
    short = make_message(house.mailbox, seconds=5)  # an end of it may well be all of it
    head = {"HTTP_RANGE": f"bytes={wanted}"}
    assert browser(Role.CLINICIAN).get(f"/m/{short.id}/audio", **head).status_code == 206
    assert plays(house) == 1
    answer = Https().get(f"/api/v1/messages/{short.id}/audio", **head, **token(Role.CLINICIAN))
    assert answer.status_code == 206 and plays(house) == 2


def flip(house: House, message: Message, at: int) -> None:
    """One bit of the sealed object turns over, as a bad disk or a hand does it."""
    path = vault.blobs()._path(house.practice.id, message.id)  # type: ignore[attr-defined]
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def damaged_rows(house: House, message: Message) -> int:
    return Event.objects.filter(
        log_id=house.practice.id, action="message:play", message=message.id, outcome="damaged"
    ).count()


def test_a_flipped_bit_is_told_and_counted(
    house: House, browser: Callable[[Role], Https], message: Message, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(house, message, 400_000)
    client = browser(Role.CLINICIAN)
    at = f"/m/{message.id}/audio"
    assert client.get(at, HTTP_RANGE="bytes=0-99").status_code == 206, "what is whole can be heard"
    answer = client.get(at, HTTP_RANGE="bytes=390000-410000")
    assert answer.status_code == 502
    page = answer.content.decode()
    assert "This message is damaged" in page and "Call the patient back" in page
    assert damaged_rows(house, message) == 1
    (line,) = [json.loads(text) for text in capsys.readouterr().err.splitlines() if "request_failed" in text]
    assert (line["error"], line["message"], line["status"]) == ("Tampered", message.id, 502)
    assert "dropped" not in line


def test_a_damaged_whole_is_never_half_a_file(
    house: House, browser: Callable[[Role], Https], message: Message
) -> None:
    flip(house, message, 600_000)  # in the second piece: the first one is good
    answer = browser(Role.CLINICIAN).get(f"/m/{message.id}/audio")
    assert answer.status_code == 502 and b"RIFF" not in answer.content
    assert not Hearing.objects.exists()


@pytest.mark.parametrize("keep", [None, 0, 50, 300_000])
def test_a_missing_or_cut_recording_is_told(
    house: House, browser: Callable[[Role], Https], message: Message, keep: int | None
) -> None:
    path = vault.blobs()._path(house.practice.id, message.id)  # type: ignore[attr-defined]
    whole = path.read_bytes()
    path.unlink()
    if keep is not None:
        path.write_bytes(whole[:keep])
    client = browser(Role.CLINICIAN)
    for options in ({}, {"HTTP_RANGE": "bytes=310000-320000"}):
        answer = client.get(f"/m/{message.id}/audio", **options)
        assert answer.status_code == 502
        assert (b"The recording is missing" in answer.content) == (keep is None)
    assert damaged_rows(house, message) == 2
    assert not Hearing.objects.exists(), "nobody has heard it"
    assert not mailbox.message(house.actor(Role.CLINICIAN), message.id).heard_by
    assert plays(house) >= 2, "a row stands before anything is read"


def test_the_api_tells_damage_as_a_problem(
    house: House, message: Message, token: Callable[[Role], dict[str, str]]
) -> None:
    flip(house, message, 100)
    answer = Https(raise_request_exception=False).get(
        f"/api/v1/messages/{message.id}/audio", **token(Role.CLINICIAN)
    )
    assert (answer.status_code, answer["Content-Type"]) == (502, "application/problem+json")


def test_a_store_that_does_not_answer_is_tried_again_later(
    browser: Callable[[Role], Https], message: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> bytes:
        raise OSError(5, "Input/output error", "/secret/place")

    monkeypatch.setattr(type(vault.blobs()), "read_range", broken)
    answer = browser(Role.CLINICIAN).get(f"/m/{message.id}/audio", HTTP_RANGE="bytes=0-9")
    assert answer.status_code == 503 and int(answer["Retry-After"]) > 0
    assert b"does not answer" in answer.content and b"/secret" not in answer.content


def test_an_altered_note_is_told_as_damage(
    house: House, browser: Callable[[Role], Https], message: Message
) -> None:
    client = browser(Role.CLINICIAN)
    client.post(f"/m/{message.id}/note", {"text": "Stent 2024"})
    Note.objects.update(text_sealed=b"\x00" * 60)
    page = client.get(f"/m/{message.id}/")
    assert page.status_code == 200
    assert b"This note is damaged" in page.content


def test_sound_that_is_not_decoded_yet_is_said_to_be_kept_and_is_not_offered(
    house: House, browser: Callable[[Role], Https]
) -> None:
    message = make_message(house.mailbox, seconds=5, codec=Codec.G722)
    client = browser(Role.CLINICIAN)
    page = client.get(f"/m/{message.id}/").content.decode()
    assert "The sound cannot be decoded yet. It is kept, and tried again. Call the patient back." in page
    assert "data-player" not in page
    assert "Review:" in page
    assert client.get(f"/m/{message.id}/audio").status_code == 404
    assert client.get(f"/m/{message.id}/audio", HTTP_RANGE="bytes=0-").status_code == 404
    assert plays(house) == 0
    assert "cannot be decoded yet" in client.get("/").content.decode()
