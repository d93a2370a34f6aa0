"""Somebody of the practice rings its staff number."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.phone.desks import Stand, Telephone, person, stand
from tests.phone.endpoints import line, run
from tests.sound import correlation

from nightbell.core.capture import Codec
from nightbell.phone import desk, voice
from nightbell.phone.endpoint import CallFailed, OutgoingCall
from nightbell.sip import g711


class Caller:
    def __init__(self, sound: Telephone, leg: OutgoingCall) -> None:
        self.sound, self.leg, self.ended = sound, leg, asyncio.Event()
        leg.on_end = lambda reason: self.ended.set()


@contextlib.asynccontextmanager
async def caller(it: Stand, codecs: tuple[Codec, ...] = (Codec.G722, Codec.PCMA)) -> AsyncIterator[Caller]:
    sound = Telephone()
    wire, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: sound, local_addr=("127.0.0.1", 0)
    )
    async with line() as own:
        try:
            leg = await own.endpoint.dial(
                f"sip:5550109@127.0.0.1:{it.endpoint.port}",
                wire.get_extra_info("sockname")[:2],
                codecs,
                "5550142",
            )
            sound.begin(leg.remote, leg.codec, leg.security)
            sending = asyncio.create_task(sound.run())
            yield Caller(sound, leg)
            sending.cancel()
        finally:
            wire.close()


def spoken(*clips: str) -> Any:
    sound = b"".join(frame for clip in clips for frame in voice.packaged(clip, Codec.PCMA))
    return np.frombuffer(g711.decode(sound, Codec.PCMA), "<i2").astype(np.float64)


def test_the_worker_is_told_and_drives_it(tmp_path: Path) -> None:
    """In the simplest codec that both have."""

    async def story() -> None:
        async with stand(tmp_path) as it, caller(it) as staff:
            came = await it.hear("leg", state="incoming")
            assert (came["dialled"], came["caller"], came["practice"]) == ("5550109", "5550142", "")
            assert staff.leg.codec is Codec.PCMA
            it.desk.order("say", {"call": came["call"], "token": 1, "clips": ["en/staff-hello"]})
            await it.hear("said", token=1)
            assert correlation(spoken("en/staff-hello"), staff.sound.samples)[0] >= 0.99
            staff.sound.press("#")
            assert (await it.hear("key", call=came["call"]))["key"] == "#"
            assert list(it.desk.legs) == [came["call"]]
            it.desk.order("hang_up", {"call": came["call"]})
            await asyncio.wait_for(staff.ended.wait(), 3)
            assert "5550142" not in it.log.getvalue()
            assert not list((tmp_path / "home" / "phone" / "spool").iterdir())

    run(story())


def test_without_a_word_of_the_worker_it_says_sorry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "WORKER_S", 0.2)

    async def story() -> None:
        async with stand(tmp_path) as it, caller(it) as staff:
            came = await it.hear("leg", state="incoming")
            await asyncio.sleep(0.5)
            it.desk.order("say", {"call": came["call"], "token": 1, "clips": ["en/thank-you"]})  # too late
            staff.sound.press("1")
            await asyncio.wait_for(staff.ended.wait(), 9)
            assert (await it.hear("leg", state="ended"))["why"] == "ended"
            wanted = spoken("en/staff-hello", "en/sorry", "en/try-again")
            assert correlation(wanted, staff.sound.samples)[0] >= 0.99

    run(story())


def test_a_caller_who_hangs_up_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with stand(tmp_path) as it, caller(it) as staff:
            came = await it.hear("leg", state="incoming")
            staff.leg.hangup()
            assert (await it.hear("leg", call=came["call"], state="ended"))["why"] == "hung_up"

    run(story())


def test_the_staff_line_and_a_patient_are_joined_too(tmp_path: Path) -> None:
    async def story() -> None:
        async with stand(tmp_path) as it, caller(it) as staff, person(Codec.PCMA) as patient:
            mine = (await it.hear("leg", state="incoming"))["call"]
            theirs = await it.up(patient)
            it.desk.order("join", {"a": mine, "b": theirs})
            await it.hear("joined")
            staff.leg.hangup()
            await it.hear("parted", a=mine, b=theirs)
            assert it.desk.legs[theirs].up

    run(story())


@pytest.mark.parametrize(
    ("codecs", "limit", "code"),
    [((Codec.OPUS,), 20, 488), ((Codec.PCMU,), 0, 503), ((Codec.PCMU,), 20, 503)],
)
def test_who_cannot_be_taken_is_refused(
    tmp_path: Path, codecs: tuple[Codec, ...], limit: int, code: int
) -> None:
    async def story() -> None:
        async with stand(tmp_path, legs=limit) as it:
            if limit and code == 503:
                it.desk.drain()
            with pytest.raises(CallFailed) as failed:
                async with caller(it, codecs):
                    pass
            assert failed.value.code == code
            assert not it.desk.legs
            assert not it.events

    run(story())


def test_a_drained_desk_places_nothing_and_lets_calls_end(tmp_path: Path) -> None:
    async def story() -> None:
        async with stand(tmp_path) as it, person() as clinician, person() as other:
            call = await it.up(clinician)
            it.desk.drain()
            refused = await it.hear("leg", call=it.place(other.uri), state="ended")
            assert (refused["why"], refused["code"]) == ("unreachable", 503)
            assert it.desk.legs[call].up
            assert not it.desk.empty.is_set()
            it.desk.end_all()
            assert it.desk.empty.is_set()
            await asyncio.wait_for(clinician.ended.wait(), 3)

    run(story())
