"""A call back as it is asked about and recorded: the real desk and telephones, driven by the real dialogue."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.phone.desks import Person, Stand, person, stand
from tests.phone.endpoints import run, until
from tests.phone.house import PRACTICE, House, sound_of
from tests.phone.test_outbound import say, tone
from tests.sound import Samples, correlation

from nightbell.core import clock
from nightbell.core.capture import AudioPacket, Capture, Codec, EndReason
from nightbell.core.ids import new_ulid
from nightbell.core.log import Log
from nightbell.oncall import dialogue_connect
from nightbell.oncall.dialogue import Purpose
from nightbell.oncall.turns import PATIENT, Facts
from nightbell.sealing.capture import open_capture
from nightbell.server.conversation import Conversation, Leg
from nightbell.sip import g711


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue_connect, "CONSENT_S", 0.4)


@dataclass
class Doing:
    """What the worker does beside speaking. Whatever is answered is noted."""

    it: Stand
    number: str
    capture: str = field(default_factory=new_ulid)
    noted: list[str] = field(default_factory=list)

    def do(self, talk: Conversation, what: str, value: str) -> str | None:
        if what == "ring":
            talk.legs[PATIENT] = Leg(self.it.place(self.number, practice=PRACTICE))
            return "ok"
        if what == "consent":
            self.noted.append(value)
            return value
        if what == "join":
            both = {"a": talk.call, "b": talk.legs[PATIENT].call}
            self.it.desk.order("join", both | ({"record": self.capture} if value else {}))
        return None

    def is_wanted(self, talk: Conversation) -> bool:
        return True

    def answered(self, talk: Conversation, side: str) -> None: ...

    def cut(self, talk: Conversation, whole: bool) -> None: ...

    def over(self, talk: Conversation, why: str) -> None: ...


class Night:
    """A clinician, a patient and what goes on between them."""

    def __init__(self, root: Path, it: Stand, clinician: Person, patient: Person) -> None:
        self.root, self.it, self.clinician, self.patient = root, it, clinician, patient
        self.doing = Doing(it, patient.uri)
        self.talk = Conversation(
            Purpose.CALLBACK, it.place(clinician.uri, practice=PRACTICE), PRACTICE, "en", Facts(connects=True, records=True),
            self.doing, lambda command, data, beside="": it.desk.order(command, data) or True, Log("test", io.StringIO()),
        )  # fmt: skip
        frames = it.desk._frames
        it.desk._frames = lambda leg, clips: frames(leg, clips)[:8]  # type: ignore[method-assign]  # all is said, shortly

    def look(self) -> bool:
        """Give the dialogue what the phone told, and the time."""
        events, self.it.events[:] = list(self.it.events), []
        for event in events:
            self.talk.take(event)
        self.talk.tick(clock.monotonic())
        return True

    async def comes_to(self, place: str, seconds: float = 25.0) -> None:
        await until(lambda: self.look() and self.talk.state.place == place, seconds)

    async def asked(self) -> None:
        await until(lambda: self.clinician.sound.target is not None)
        self.clinician.sound.press("1")
        await self.comes_to("consent")

    @property
    def spool(self) -> Path:
        return self.root / "home" / "phone" / "spool"

    def files(self) -> list[str]:
        return sorted(one.name for one in self.spool.iterdir() if one.name != ".reserve")


@asynccontextmanager
async def night(root: Path, house: House, *codecs: Codec) -> AsyncIterator[Night]:
    async with (
        stand(root, house, recorder=True) as it,
        person(codecs[0]) as clinician,
        person(codecs[1]) as patient,
    ):
        yield Night(root, it, clinician, patient)


def heard(capture: Capture, packets: tuple[AudioPacket, ...]) -> Samples:
    length = max(one.offset + len(one.payload) for one in packets)
    law = bytearray(g711.silence(length, capture.meta.codec))
    for one in packets:
        law[one.offset : one.offset + len(one.payload)] = one.payload
    return np.frombuffer(g711.decode(bytes(law), capture.meta.codec), "<i2").astype(np.float64)


@pytest.mark.parametrize(
    ("codecs", "law"),
    [((Codec.PCMU, Codec.PCMU), Codec.PCMU), ((Codec.G722, Codec.PCMA), Codec.PCMA)],
)
def test_after_a_patients_key_1_both_sides_are_sealed_as_they_are_heard(
    tmp_path: Path, codecs: tuple[Codec, Codec], law: Codec
) -> None:
    house = House(tmp_path)

    async def story() -> None:
        async with night(tmp_path, house, *codecs) as it:
            await it.asked()
            assert it.files() == []
            it.patient.sound.press("1")
            await it.comes_to("together")
            assert it.doing.noted == ["yes"]
            assert it.files() == [f"{it.doing.capture}.part"], "not before they are together"
            mine, theirs = tone(1, 1), tone(1, 2)
            say(it.clinician, mine)
            say(it.patient, theirs)
            await asyncio.sleep(1.4)
            assert it.patient.call is not None
            it.patient.call.hangup()
            await it.it.hear("capture_ready", 8, capture=it.doing.capture)
            capture = open_capture((it.spool / f"{it.doing.capture}.cap").read_bytes(), house.private)
            assert (capture.meta.talk, capture.meta.codec, capture.complete) == (True, law, True)
            assert (capture.meta.caller, capture.meta.dialled, capture.end.reason) == (
                "",
                "",
                EndReason.HANG_UP,
            )
            assert correlation(mine[400:7_600], heard(capture, capture.packets))[0] >= 0.98
            assert correlation(theirs[400:7_600], heard(capture, capture.beside))[0] >= 0.98
            assert len(sound_of(capture)) <= 8000 * 4, "nothing of what came before"

    run(story())


def test_without_a_key_there_is_no_file_at_all(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def story() -> None:
        async with night(tmp_path, house, Codec.PCMU, Codec.PCMU) as it:
            await it.asked()
            await it.comes_to("together")
            assert it.doing.noted == ["no"]
            theirs = tone(1, 2)
            say(it.patient, theirs)
            await asyncio.sleep(1.3)
            assert correlation(theirs[400:7_600], it.clinician.sound.samples)[0] >= 0.98
            assert it.clinician.call is not None
            it.clinician.call.hangup()
            await it.it.hear("parted")
            assert it.files() == []

    run(story())


def test_the_recording_of_a_phone_that_stops_is_kept_and_its_call_needs_no_disk(tmp_path: Path) -> None:
    """A full disk or a wrong name costs the recording, never the call; a stop leaves what was said so far."""
    house = House(tmp_path)

    async def joined(it: Stand, a: Person, b: Person, record: object) -> dict[str, Any]:
        both = {"a": await it.up(a), "b": await it.up(b)}
        it.desk.order("join", both | {"record": record})
        await it.hear("joined", **both)
        say(b, tone(2, 3))
        await asyncio.sleep(1.2)
        return both

    async def story(record: object) -> None:
        # The phone stops first: whoever hung up before would have ended the recording.
        async with person() as a, person() as b, stand(tmp_path, house, recorder=True) as it:
            await joined(it, a, b, record)
            assert correlation(tone(2, 3)[400:7_000], a.sound.samples)[0] >= 0.98
            assert it.desk._tapes.begin("../../x", PRACTICE, Codec.PCMU) is None

    named = new_ulid()
    spool = house.spool
    run(story(named))
    found = open_capture((spool / f"{named}.part").read_bytes(), house.private)
    assert (found.complete, found.end.reason) == (False, EndReason.INTERRUPTED)
    assert correlation(tone(2, 3)[400:6_000], heard(found, found.beside))[0] >= 0.98
    run(story(named))  # a file of that name is there already
    assert [one.name for one in spool.iterdir() if one.name != ".reserve"] == [f"{named}.part"]
