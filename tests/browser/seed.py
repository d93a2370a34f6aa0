"""Fills a demo home with a night's messages: real recordings, words by script. Run in a process of its own.

usage: python -m tests.browser.seed            (NIGHTBELL_HOME and the rest from the environment)
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

from nightbell.core.capture import Codec
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.core.log import Log
from nightbell.core.notice import Hearing, Word
from nightbell.server import home
from nightbell.server.django_setup import setup
from nightbell.sip import g711

CLIPS = Path(__file__).resolve().parents[1] / "speech"
WORDS = {clip["id"]: clip["text"] for clip in json.loads((CLIPS / "manifest.json").read_text("utf-8"))}


def pcm(clip: str) -> bytes:
    """A mu-law WAV as PCM16."""
    raw = (CLIPS / f"{clip}.wav").read_bytes()
    at = raw.index(b"data")
    return g711.decode(raw[at + 8 : at + 8 + int.from_bytes(raw[at + 4 : at + 8], "little")], Codec.PCMU)


class Scripted:
    """Hears what the script says, spread over the sound by the length of the words."""

    def __init__(self, text: str, doubtful: tuple[str, ...]) -> None:
        self.text, self.doubtful = text, doubtful

    def hear(self, sound: bytes, language: str | None, rate: int = 8000) -> Hearing:
        words, at, heard = self.text.split(), 0.15, []
        second = (len(sound) / 16000 - 0.4) / sum(len(word) + 1 for word in words)
        for word in words:
            length = (len(word) + 1) * second
            sure = 0.38 if word.strip(".,") in self.doubtful else 0.93
            heard.append(Word(" " + word, at, at + length * 0.92, sure))
            at += length
        return Hearing(language or "en", tuple(heard), "scripted")


def main() -> None:
    config, now = load(), utc_now()
    home.make(config, "demo", now)
    setup()
    home.prepare_database(config, now)

    # Models can be imported only now.
    from tests.factories import make_message

    from nightbell.mailbox import service, transcribe
    from nightbell.mailbox.models import Mailbox, Message
    from nightbell.oncall import escalation, outcomes, phone_notes
    from nightbell.people.access import Actor
    from nightbell.people.models import Practice, User
    from nightbell.server import demo, wiring

    demo.fill(config, now)
    practice = Practice.objects.get(code="MS01")
    nurse, appointments = Mailbox.objects.filter(practice=practice).order_by("position")
    log = Log("seed", open(os.devnull, "w"))  # noqa: SIM115

    def add(
        box: Mailbox | None, clip: str, minutes: int, caller: str, urgent: bool = False, *doubtful: str
    ) -> Message:
        made = make_message(
            box, pcm=pcm(clip), urgent=urgent, caller=caller, answered_at=now - timedelta(minutes=minutes)
        )
        while transcribe.run_one(Scripted(WORDS[clip], doubtful), utc_now, log):
            pass
        return Message.objects.get(pk=made.pk)

    def person(login: str) -> Actor:
        return Actor(User.objects.get(login=login), "127.0.0.1", "seed", utc_now())

    owned = add(nurse, "vm05_kokoro", 24, "+12125557718")
    service.acknowledge(person("patel"), owned.id)
    add(appointments, "vm07_kokoro", 869, "+13125559006")
    make_message(nurse, pcm=b"", caller="+15035550131", answered_at=now - timedelta(hours=12))
    noted = add(nurse, "vm16_piper", 657, "+18475550166", False, "Ozempic")
    service.acknowledge(person("ruiz"), noted.id)
    service.note(person("ruiz"), noted.id, "Asked the insurer for the form. Comes back on Wednesday.")
    outcomes.record(person("ruiz"), noted.id, "left_word")
    add(nurse, "vm10_piper", 103, "")
    add(nurse, "ms_petewarden_0", 26, "+15125556681")
    closed = add(appointments, "jfk", 1200, "+12065553911")
    service.acknowledge(person("ruiz"), closed.id)
    outcomes.record(person("ruiz"), closed.id, "reached")
    typed = {
        "patient": "Ann Okoro",
        "reason": "Asked for Thursday",
        "advice": "Come at nine",
        "follow_up": "None",
    }
    phone_notes.sign(person("ruiz"), closed.id, typed)
    add(None, "cards_005", 69, "+15415557723")
    add(nurse, "vm02_piper", 4, "+16175550193", True, "Thompson")
    sender = escalation.Sender(wiring.channels(config, "demo"), config.url)
    for _ in range(3):
        escalation.tick(sender, utc_now(), log)


if __name__ == "__main__":
    main()
