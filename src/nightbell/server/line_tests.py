"""Drives the evening test and drills: places the calls, leaves the invented message, and looks what came of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from nightbell.core import clock, durable
from nightbell.core.capture import EndReason
from nightbell.core.dialling import e164
from nightbell.core.ids import new_ulid
from nightbell.flow.clips import CLIPS
from nightbell.flow.graph import Part
from nightbell.line import carrier_capture
from nightbell.mailbox import epochs
from nightbell.mailbox.models import Mailbox, Message, Number
from nightbell.oncall import line_test, voice
from nightbell.oncall.dialogue import Purpose
from nightbell.oncall.models import LineTest, VoiceCall
from nightbell.oncall.roster import on_call_ids
from nightbell.oncall.turns import ME, Facts
from nightbell.people import contacts
from nightbell.people.models import ContactKind, Practice
from nightbell.sealing import spool
from nightbell.server.call_effects import Plain
from nightbell.server.calling import Calling
from nightbell.server.conversation import Conversation
from nightbell.server.loop import each
from nightbell.server.voice_channel import dials

LINE_MOST_S = 200
RECORD = "record"
WAKES = (ContactKind.PUSH, ContactKind.SMS, ContactKind.OTHER)  # besides a call; a mail wakes nobody
NOT_RUNG, NO_WAY = (
    "not rung: has proved no telephone here, but another way that wakes",
    "has no way that wakes",
)
LEFT = "left"  # noted of a drill when its capture lies in the spool
INVENTED = "5555550100"  # a number that nobody has (NANP 555-01XX), shown as the drill's caller


class OurLine(Plain):
    """The call to our own number."""

    def __init__(self, test: str) -> None:
        self.test = test

    def over(self, talk: Conversation, why: str) -> None:
        now, leg = clock.utc_now(), talk.legs[ME]
        super().over(talk, why)
        call = VoiceCall.objects.get(pk=talk.call)
        said = voice.WORDS.get(why, why)
        line_test.note(
            self.test, "answered", call.answered_at is not None, now, "" if call.answered_at else said
        )
        if call.answered_at is None:
            line_test.note(self.test, "greeting", False, now, "our number was not answered")
        elif (
            leg.ended
        ):  # the other side told how much it heard; when we hang up ourselves that comes after the end
            _greeted(self.test, leg.heard, now)


def _greeted(test: str, heard: int, now: datetime) -> None:
    enough = heard >= line_test.ENOUGH_HEARD
    line_test.note(test, "greeting", enough, now, "" if enough else "no sound came")


class Ready(Plain):
    """The question to whoever is on call."""

    def __init__(self, test: str) -> None:
        self.test = test

    def _ready(self, talk: Conversation, value: str) -> str | None:
        line_test.note(self.test, "on_call", True, clock.utc_now())
        return None

    def over(self, talk: Conversation, why: str) -> None:
        super().over(talk, why)
        line_test.note(
            self.test, "on_call", False, clock.utc_now(), voice.WORDS.get(why, "no key was pressed")
        )


class LineTests:
    """Of one worker; `step` is called again and again."""

    def __init__(
        self, calling: Calling, folder: Path, able: Callable[[], bool] = dials, calls: bool = True
    ) -> None:
        """folder: the spool; able: whether there is a carrier to call by; calls: whether the line is tested at all."""
        self._calling, self._folder, self._able, self._calls = calling, folder, able, calls

    def step(self) -> bool:
        now = clock.utc_now()
        tests = self._calls and self._able() and not self._calling.waits()
        problems: list[Exception] = []
        done = each(lambda: line_test.due(now), lambda one: self._begin(one, now), problems) if tests else 0
        evening, drills = line_test.EVENING, line_test.DRILL
        done += each(lambda: line_test.running(evening), lambda row: self._go_on(row, now), problems)
        done += each(lambda: line_test.running(drills), lambda row: self._drill(row, now), problems)
        done += each(lambda: line_test.left_open(now), lambda one: line_test.close_drill(one, now), problems)
        if problems:
            raise problems[0]  # all had their turn; now the loop may tell of it
        return bool(done)

    def _begin(self, practice: Practice, now: datetime) -> bool:
        call = new_ulid()
        return self._call(line_test.begin(practice, call, now), call, now)

    def _call(self, test: LineTest, call: str, now: datetime) -> bool:
        practice = test.practice
        row = voice.plan(practice.id, Purpose.LINE_TEST, now, id=call)
        talk = self._calling.begin(row, None, practice.language, Facts(), OurLine(test.id))
        if not self._calling.place(talk, e164(practice.number), practice, ring_s=40, max_s=LINE_MOST_S):
            line_test.note(test.id, "answered", False, now, "the phone process is not there")
        return True

    def _go_on(self, row: LineTest, now: datetime) -> bool:
        if line_test.is_left(row, now) and not self._calling.waits():
            if not (self._calls and self._able()):
                return line_test.note(row.id, "answered", False, now, voice.WORDS["no_trunk"])
            # Somebody asked for it; or whoever drove its call was killed. That says nothing of the line: it is called anew.
            call = new_ulid()
            if line_test.call_anew(row, call):
                return self._call(row, call, now)
        if "message" not in row.checks and "answered" in row.checks:
            line_test.settle_message(row, now)
        if "greeting" not in row.checks and "message" in row.checks:
            heard = self._calling.heard_of(row.call)
            if heard is not None:
                _greeted(row.id, heard, now)
        if "on_call" not in row.checks and "answered" in row.checks:
            self._ask(row, now)
        return line_test.end_when_done(row, now)

    def _ask(self, row: LineTest, now: datetime) -> None:
        """Ring whoever is on call, once; while a phone may be back in a moment, later."""
        if self._calling.waits():
            return
        ids = on_call_ids(row.practice, now)
        user = line_test.person_on_call(row.practice, ids)
        if user is None:
            line_test.note(row.id, "on_call", False, now, "nobody is on call")
            return
        contact = voice.number_of(user, now)
        if contact is None:
            wakes = any(one.kind in WAKES for one in contacts.ways(user, now, True))
            line_test.note(row.id, "on_call", wakes, now, NOT_RUNG if wakes else NO_WAY)
            return
        asked = VoiceCall.objects.filter(
            practice=row.practice, purpose=Purpose.READY.value, started_at__gte=row.began_at
        )
        last = asked.order_by("-started_at").first()
        if last is not None:
            if last.ended_at is not None:  # of a worker that is gone
                line_test.note(row.id, "on_call", False, now, voice.WORDS.get(last.why, "no key was pressed"))
            return
        if voice.is_engaged(contact.pk):
            return  # an alert rings there: afterwards
        made = voice.plan(row.practice_id, Purpose.READY, now, user=user, contact=contact)
        talk = self._calling.begin(made, user, user.language, Facts(), Ready(row.id))
        if not self._calling.place(talk, contact.address, row.practice, max_s=90):
            line_test.note(row.id, "on_call", False, now, "the phone process is not there")

    def _drill(self, row: LineTest, now: datetime) -> bool:
        path = self._folder / (row.id + spool.CAP)
        if LEFT not in row.checks and not path.exists() and not Message.objects.filter(pk=row.id).exists():
            return self._leave(row, path, now)
        return line_test.watch_drill(row, now)

    def _leave(self, row: LineTest, path: Path, now: datetime) -> bool:
        """The invented patient's message, as a phone would have left it. Its id is the drill's, so that there is one.
        Without sealing keys or a mailbox there is none, and the drill fails."""
        epoch = epochs.current()
        mailbox = Mailbox.objects.filter(practice=row.practice).order_by("position", "id").first()
        if epoch is None or mailbox is None:
            return line_test.watch_drill(row, now)
        number = Number.objects.filter(mailbox=mailbox, staff=False).order_by("dialled").first()
        sound = (CLIPS / row.practice.language / "test-message.ulaw").read_bytes()
        call = carrier_capture.Call(
            capture=row.id, practice=row.practice_id, mailbox=mailbox.id, dialled=number.dialled if number else "",
            caller=INVENTED, answered=now, language=row.practice.language, snapshot=0, flow=0,
            marks=((0, "drill"), (0, "urgent"), (0, f"stage:{RECORD}"), (0, "recording"), (0, f"part:{Part.MESSAGE.value}"),
                   (len(sound) // 8, "part-end")), keys=(),
            ended=(len(sound) // 8, EndReason.HANG_UP), sounds={0: sound},
        )  # fmt: skip
        durable.write_file(path, carrier_capture.sealed(carrier_capture.compose(call), epoch))
        line_test.note(
            row.id, LEFT, True, now
        )  # a capture that intake could not read is not left again and again
        return True
