"""Calls that the worker orders: placed, spoken with, joined, ended, and what must not happen."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import numpy as np
import pytest
from tests.phone.desks import OFFICE, Person, person, stand
from tests.phone.endpoints import run, until
from tests.sound import Samples, correlation

from nightbell.core.capture import Codec
from nightbell.phone import voice
from nightbell.phone.endpoint import IncomingCall
from nightbell.phone.outbound import why
from nightbell.sip import g711

HELLO = "en/alert-hello"


def pcm(ulaw: bytes) -> Samples:
    return np.frombuffer(g711.decode(ulaw, Codec.PCMU), "<i2").astype(np.float64)


def clip(name: str = HELLO) -> Samples:
    return pcm(b"".join(voice.packaged(name, Codec.PCMU)))


def tone(seconds: float, seed: int) -> Samples:
    """Sound within what a telephone carries, no two moments of which are alike."""
    sound = np.random.default_rng(seed).normal(0, 5000, int(seconds * 8000))
    return np.asarray(np.convolve(sound, np.ones(4) / 4, "same"))


def say(who: Person, sound: Samples) -> None:
    from nightbell.phone import encode

    who.sound.say(encode.frames(sound.astype("<i2").tobytes(), who.codec))


def test_a_call_is_answered_hears_a_clip_presses_a_key_and_is_ended(tmp_path: Path) -> None:
    async def story() -> None:
        async with stand(tmp_path) as it, person() as clinician:
            call = it.place(clinician.uri)
            assert (await it.hear("leg", call=call))["state"] == "trying"
            up = await it.hear("leg", call=call, state="answered")
            assert (up["code"], up["why"], up["encrypted"]) == (200, "", False)
            assert clinician.call is not None
            assert clinician.call.caller == OFFICE
            await until(lambda: clinician.sound.target is not None)
            it.desk.order("say", {"call": call, "token": 7, "clips": ["~200", HELLO], "barge_in": True})
            await it.hear("said", call=call, token=7)
            assert correlation(clip(), clinician.sound.samples)[0] >= 0.99
            clinician.sound.press("5")
            assert (await it.hear("key", call=call))["key"] == "5"
            it.desk.order("hang_up", {"call": call})
            assert (await it.hear("leg", call=call, state="ended"))["why"] == "ended"
            await asyncio.wait_for(clinician.ended.wait(), 3)
            assert it.desk.empty.is_set()
            assert not list((tmp_path / "home" / "phone" / "spool").iterdir())
            assert '5"' not in it.log.getvalue().replace("555", "")
            assert OFFICE[1:] not in it.log.getvalue()

    run(story())


def ring(call: IncomingCall) -> None:
    call.ring()


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda call: call.reject(486), ("busy", 486)),
        (lambda call: call.reject(603), ("refused", 603)),
        (lambda call: call.reject(480), ("no_answer", 480)),
        (lambda call: call.reject(404), ("unreachable", 404)),
        (ring, ("no_answer", 408)),
    ],
)
def test_it_tells_why_nobody_answered(tmp_path: Path, act: object, expected: tuple[str, int]) -> None:
    async def story() -> None:
        async with stand(tmp_path) as it, person(act=act) as clinician:  # type: ignore[arg-type]
            call = it.place(clinician.uri, ring_s=1)
            ended = await it.hear("leg", call=call, state="ended")
            assert (ended["why"], ended["code"]) == expected
            if act is ring:
                assert await it.hear("leg", call=call, state="ringing")
                await until(lambda: clinician.call is not None and clinician.call.ended)  # CANCEL
                assert clinician.line.events == ["end:cancel"]

    run(story())


def test_the_meaning_of_each_status() -> None:
    assert [why(code) for code in (486, 600, 408, 480, 487, 607, 603, 403, 404, 484, 488, 500, 503)] == [
        *["busy"] * 2, *["no_answer"] * 3, *["refused"] * 2, *["unreachable"] * 6,
    ]  # fmt: skip


def test_a_ringing_call_is_taken_back_when_it_is_hung_up(tmp_path: Path) -> None:
    async def story() -> None:
        async with stand(tmp_path) as it, person(act=ring) as clinician:
            call = it.place(clinician.uri, ring_s=60)
            await it.hear("leg", call=call, state="ringing")
            it.desk.order("hang_up", {"call": call})
            assert (await it.hear("leg", call=call, state="ended"))["why"] == "ended"
            await until(lambda: clinician.call is not None and clinician.call.ended)

    run(story())


@pytest.mark.parametrize(
    ("to", "more", "expected"),
    [
        ("sip:x@192.0.2.7", {}, "not_allowed"),
        ("sip:x@carrier.example", {}, "unreachable"),
        ("tel:+16175550100", {}, "not_allowed"),
        ("911", {}, "not_allowed"),
        ("6175550100", {}, "not_allowed"),
        ("+1617555010x", {}, "not_allowed"),
        ("sip:x@127.0.0.1\r\nX: y", {}, "not_allowed"),
        ("+16175550100", {}, "no_trunk"),
        ("+16175550100", {"caller": "+1 617\r\nX: y"}, "not_allowed"),
        ("+16175550100", {"ring_s": "9"}, "not_allowed"),
    ],
)
def test_what_cannot_be_dialled_is_told(
    tmp_path: Path, to: str, more: dict[str, object], expected: str
) -> None:
    async def story() -> None:
        async with stand(tmp_path) as it:
            ended = await it.hear("leg", call=it.place(to, **more), state="ended")
            assert ended["why"] == expected
            assert it.endpoint.counters["dialled"] == 0

    run(story())


def test_addresses_are_dialled_only_where_this_machine_may_call(tmp_path: Path) -> None:
    async def story() -> None:
        async with stand(tmp_path, local=False) as it, person() as clinician:
            ended = await it.hear("leg", call=it.place(clinician.uri), state="ended")
            assert ended["why"] == "not_allowed"

    run(story())


def test_the_same_order_twice_is_one_call(tmp_path: Path) -> None:
    async def story() -> None:
        async with stand(tmp_path) as it, person() as clinician:
            call = await it.up(clinician)
            it.place(clinician.uri, call=call)
            assert await it.hear("leg", call=call, state="answered")
            it.desk.order("hang_up", {"call": call})
            await it.hear("leg", call=call, state="ended")
            it.place(clinician.uri, call=call)
            assert await it.hear("leg", call=call, state="ended")
            assert it.endpoint.counters["dialled"] == 1
            assert not it.desk.legs

    run(story())


def test_staff_has_a_number_of_legs_of_its_own(tmp_path: Path) -> None:
    async def story() -> None:
        async with stand(tmp_path, legs=1) as it, person() as clinician, person() as other:
            first = await it.up(clinician)
            ended = await it.hear("leg", call=it.place(other.uri), state="ended")
            assert (ended["why"], ended["code"]) == ("unreachable", 503)
            it.desk.order("hang_up", {"call": first})
            await it.hear("leg", call=first, state="ended")
            await it.up(other)

    run(story())


def test_it_ends_after_its_time(tmp_path: Path) -> None:
    async def story() -> None:
        async with stand(tmp_path) as it, person() as clinician:
            call = await it.up(clinician, max_s=1)
            assert (await it.hear("leg", call=call, state="ended"))["why"] == "ended"
            await asyncio.wait_for(clinician.ended.wait(), 3)

    run(story())


def test_a_key_cuts_what_may_be_cut_and_nothing_else(tmp_path: Path) -> None:
    async def story() -> None:
        async with stand(tmp_path) as it, person() as clinician:
            call = await it.up(clinician)
            for token, barge_in in ((1, False), (2, True), (3, True)):
                it.desk.order("say", {"call": call, "token": token, "clips": [HELLO], "barge_in": barge_in})
            await asyncio.sleep(0.3)
            clinician.sound.press("1")
            await it.hear("key", call=call)
            await it.hear("said", call=call, token=1)
            assert len(clinician.sound.samples) >= len(clip())
            it.desk.order("say", {"call": call, "token": 4, "clips": [HELLO], "barge_in": True})
            await asyncio.sleep(0.3)
            clinician.sound.press("2")
            await it.hear("key", call=call)
            it.desk.order("say", {"call": call, "token": 5, "clips": [HELLO, HELLO], "barge_in": True})
            it.desk.order("hush", {"call": call})
            it.desk.order("say", {"call": call, "token": 6, "clips": ["en/unheard-of", "~100"]})
            await it.hear("said", call=call, token=6)
            assert not any(one["event"] == "said" for one in it.events)

    run(story())


def test_given_sound_is_heard_without_a_gap(tmp_path: Path) -> None:
    async def story() -> None:
        async with stand(tmp_path) as it, person() as clinician:
            call = await it.up(clinician)
            sound = g711.encode(tone(1.5, 3).astype("<i2").tobytes(), Codec.PCMU)
            pieces = [sound[at : at + 4000] for at in range(0, len(sound), 4000)]
            for number, piece in enumerate(pieces):
                last = number == len(pieces) - 1
                data = {"call": call, "token": 9, "ulaw": base64.b64encode(piece).decode(), "last": last}
                it.desk.order("sound", data)
                await asyncio.sleep(0.02)
            await it.hear("said", call=call, token=9)
            assert correlation(pcm(sound), clinician.sound.samples)[0] >= 0.999
            mouth = it.desk.legs[call].mouth
            assert mouth is not None
            assert next(mouth._numbers) == 2  # one run, not one after another with a gap between
            for bad in ("", "?", 7, "A" * 90_001):
                it.desk.order("sound", {"call": call, "token": 1, "ulaw": bad, "last": False})
            assert it.desk.legs[call].up

    run(story())


@pytest.mark.parametrize(
    ("one", "other", "least", "silence"),
    [
        (Codec.PCMU, Codec.PCMU, 0.999, True),
        (Codec.PCMU, Codec.PCMA, 0.99, False),
        (Codec.G722, Codec.PCMA, 0.97, False),
    ],
)
def test_two_legs_are_joined_and_hear_each_other_alone(
    tmp_path: Path, one: Codec, other: Codec, least: float, silence: bool
) -> None:
    """silence: for a carrier that insists on sound without a pause, also while the other says nothing."""

    async def story() -> None:
        async with (
            stand(tmp_path, send_silence=silence) as it,
            person(one) as clinician,
            person(other) as patient,
        ):
            a, b = await it.up(clinician), await it.up(patient)
            it.desk._look_once(1.0)
            it.desk.order("join", {"a": a, "b": b})
            await it.hear("joined", a=a, b=b)
            mine, theirs = tone(1.2, 1), tone(1.2, 2)
            say(clinician, mine)
            say(patient, theirs)
            await asyncio.gather(clinician.sound.idle.wait(), patient.sound.idle.wait())
            sessions = [it.desk.legs[one].session for one in (a, b)]
            assert not any(one is None or one.steady for one in sessions)  # no packet waits for its turn
            clinician.sound.press("7")
            assert (await it.hear("key"))["call"] == a
            await asyncio.sleep(0.1)
            assert correlation(theirs[800:8800], clinician.sound.samples)[0] >= least
            assert correlation(mine[800:8800], patient.sound.samples)[0] >= least
            for who in (clinician, patient):
                assert len(who.sound.sources) == 1
                assert len(who.sound.kinds) == 1  # no key is passed on
                assert next(iter(who.sound.sources)) not in (clinician.sound._ssrc, patient.sound._ssrc)
            it.desk.order("part", {"a": a, "b": b})
            await it.hear("parted", a=a, b=b)
            latest = max(clinician.sound.heard)
            clinician.sound.heard.clear()
            it.desk.order("say", {"call": a, "token": 1, "clips": [HELLO]})
            await it.hear("said", call=a, token=1)
            assert correlation(clip(), clinician.sound.samples)[0] >= (0.99 if one is Codec.PCMU else 0.97)
            assert min(clinician.sound.heard) > latest

    run(story())


@pytest.mark.parametrize("leaves", [0, 1])
def test_who_hangs_up_leaves_the_other_with_us(tmp_path: Path, leaves: int) -> None:
    async def story() -> None:
        async with stand(tmp_path) as it, person() as clinician, person() as patient:
            people, calls = (clinician, patient), (await it.up(clinician), await it.up(patient))
            it.desk.order("join", {"a": calls[0], "b": calls[1]})
            it.desk.order("join", {"a": calls[1], "b": calls[0]})
            await it.hear("joined", a=calls[1])
            say(clinician, tone(0.3, 1))
            gone = people[leaves].call
            assert gone is not None
            gone.hangup()
            assert (await it.hear("leg", call=calls[leaves], state="ended"))["why"] == "hung_up"
            await it.hear("parted")
            stays = 1 - leaves
            it.desk.order("say", {"call": calls[stays], "token": 3, "clips": [HELLO]})
            await it.hear("said", call=calls[stays], token=3)
            assert correlation(clip(), people[stays].sound.samples)[0] >= 0.99
            it.desk.order("join", {"a": calls[stays], "b": calls[leaves]})
            await it.hear("parted", a=calls[stays])

    run(story())


def test_without_a_worker_legs_end_but_not_who_speak_with_each_other(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            stand(tmp_path) as it, person() as one, person() as two, person() as three,
            person(act=ring) as ringing,
        ):  # fmt: skip
            a, b, alone = await it.up(one), await it.up(two), await it.up(three)
            waits = it.place(ringing.uri, ring_s=60)
            await it.hear("leg", call=waits, state="ringing")
            it.desk.order("join", {"a": a, "b": b})
            it.connected = False
            it.desk._look_once(100.0)
            it.desk._look_once(109.9)
            assert len(it.desk.legs) == 4
            it.desk._look_once(110.0)
            assert (await it.hear("leg", call=alone, state="ended"))["why"] == "lost"
            assert (await it.hear("leg", call=waits, state="ended"))["why"] == "lost"
            assert set(it.desk.legs) == {a, b}
            it.connected = True
            it.desk._look_once(120.0)
            assert set(it.desk.legs) == {a, b}

    run(story())


def test_nothing_is_done_for_rubbish(tmp_path: Path) -> None:
    async def story() -> None:
        async with stand(tmp_path) as it, person() as clinician:
            call = await it.up(clinician)
            for name in it.desk.orders:
                for data in (None, [], "x", {}, {"call": 7}, {"call": call, "clips": 7, "token": "x"}):
                    if name not in ("hang_up",) or not (isinstance(data, dict) and data.get("call") == call):
                        it.desk.order(name, data)
            assert it.desk.legs[call].up
            assert it.endpoint.counters["dialled"] == 1

    run(story())
