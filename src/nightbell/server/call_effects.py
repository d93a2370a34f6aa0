"""What the calls do beside speaking: PINs, ownership, listening, the patient's leg, swaps. Each is a durable step of its own.

Everything by name: `do` finds the method of an order of the dialogue ('take' is `_take`).
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import connection

from nightbell.core import clock
from nightbell.core.capture import Codec
from nightbell.core.dialling import shown
from nightbell.core.errors import NightbellError
from nightbell.mailbox import playing, stored
from nightbell.oncall import callback, service, swaps, voice
from nightbell.oncall.dialogue import Purpose
from nightbell.oncall.errors import BadSwap
from nightbell.oncall.models import Attempt, CallBack, Swap, SwapState, VoiceCall
from nightbell.oncall.turns import ME, PATIENT, Told
from nightbell.people import contacts, pins
from nightbell.people.models import Contact, User
from nightbell.server.conversation import MOST_S, NO_LEG, RING_S, Conversation, Leg
from nightbell.sip import g711

PIECE = 56_000  # bytes of µ-law in one order: seven seconds
SENDER_S = 3.0  # how long the answer of a phone may be quicker than its sender
UNPROVED_S = 180.0  # how long somebody may be on the staff line before the PIN was right


class Plain:
    """Nothing happens but words; the row ends with the call."""

    def do(self, talk: Conversation, what: str, value: str) -> str | None:
        act: Callable[[Conversation, str], str | None] | None = getattr(
            self, "_" + what.replace(" ", "_"), None
        )
        if act is None:
            return None
        if what != "patient ended" and not self.still():
            talk.outcome = talk.outcome or "locked_out"
            talk.end("ended")
            return None
        return act(talk, value)

    def still(self) -> bool:
        """Whether its person may still do anything."""
        return True

    def is_wanted(self, talk: Conversation) -> bool:
        return True

    def answered(self, talk: Conversation, side: str) -> None:
        voice.answered(talk.legs[side].call, clock.utc_now())

    def cut(self, talk: Conversation, whole: bool) -> None:
        """Nothing was being heard."""

    def over(self, talk: Conversation, why: str) -> None:
        voice.finish(talk.call, why, clock.utc_now())


class Telling(Plain):
    """A notice: whoever sends it waits until it was heard, or the call is over."""

    def __init__(self) -> None:
        self.heard = False

    def _heard(self, talk: Conversation, value: str) -> str | None:
        self.heard = True
        return None


def _anew(user: User) -> User | None:
    """As they are now; None when they are locked out."""
    return User.objects.select_related("practice").filter(pk=user.pk, is_active=True).first()


class Somebodys(Plain):
    """Of one person, whose role may change while they speak."""

    user: User

    def still(self) -> bool:
        found = _anew(self.user)
        self.user = found or self.user
        return found is not None


class WithPatient(Somebodys):
    """Somebody of ours whom the dialogue may bring together with a patient. callback: None until it is asked for."""

    def __init__(self, user: User, row: VoiceCall, back: CallBack | None = None) -> None:
        self.user, self.row, self.back = user, row, back

    def _ring(self, talk: Conversation, value: str) -> str | None:
        """Open the number and ring it. The row first: a call that nobody knows of must not ring a patient."""
        now, back = clock.utc_now(), self.back
        if back is None:
            return "no"
        try:
            number = callback.patients_number(back, talk.call, now)
        except NightbellError as error:
            talk.log.failure("callback.number", error)
            number = ""
        if not number:
            talk.outcome = "no_number"
            return "no"
        leg = voice.plan(talk.practice, Purpose.PATIENT, now, user=self.user, callback=back)
        talk.legs[PATIENT] = Leg(leg.id)
        talk.patient_language = back.message.language
        placed = talk.order(
            "place_call",
            {
                "call": leg.id, "to": number, "caller": shown(self.user.practice.number), "trunk": "",
                "practice": talk.practice, "language": talk.patient_language, "ring_s": RING_S + 10, "max_s": MOST_S,
            },
            talk.call,
        )  # fmt: skip
        if not placed:
            talk.legs.pop(PATIENT)
            voice.forget(leg.id, now)
        return "ok" if placed else "no"

    def _consent(self, talk: Conversation, value: str) -> str | None:
        """What the patient answered is on record before anybody hears that they are recorded."""
        if self.back is None:
            return "no"
        agreed, leg = value == "yes", talk.legs[PATIENT].call
        try:
            noted = callback.consent(self.back, agreed, talk.call, leg, clock.utc_now())
        except Exception as error:  # whatever it is costs the recording, not the call
            talk.log.failure("callback.consent", error)
            if not connection.in_atomic_block:
                connection.close()
            return "no"
        return "yes" if noted else "no"

    def _join(self, talk: Conversation, value: str) -> str | None:
        record = {"record": self.back.id} if value == "record" and self.back is not None else {}
        talk.order("join", {"a": talk.call, "b": talk.legs[PATIENT].call, **record})
        return None

    def _patient_ended(self, talk: Conversation, value: str) -> str | None:
        voice.finish(talk.legs[PATIENT].call, value, clock.utc_now())
        return None

    def _outcome(self, talk: Conversation, value: str) -> str | None:
        if self.back is None:
            return "no"
        return callback.settle(self.back.id, value, talk.call, clock.utc_now(), self.seen())

    def seen(self) -> set[str] | None:
        """What of a message they have heard in this call; None where they came from its page."""
        return None

    def answered(self, talk: Conversation, side: str) -> None:
        super().answered(talk, side)
        if side == PATIENT and self.back is not None:
            callback.answered(self.back.id, clock.utc_now())

    def over(self, talk: Conversation, why: str) -> None:
        now, leg = clock.utc_now(), talk.patient
        if leg is not None:
            voice.finish(leg.call, leg.ended or "ended", now)
        try:
            if self.back is not None:
                callback.unanswered(self.back.id, talk.call, now)
        finally:
            voice.finish(talk.call, why, now)


@dataclass
class Heard:
    """A message that is being played: which, since when (monotonic), and how long it is."""

    message: str
    since: float
    seconds: float


class Waking(WithPatient):
    """The call of an alert's attempt."""

    def __init__(self, user: User, row: VoiceCall, attempt: Attempt) -> None:
        super().__init__(user, row)
        self.attempt, self.proved = attempt, False
        self._playing: Heard | None = None
        self._left: list[str] = []  # what is still to be played
        self._played: set[str] = set()  # of which a word was heard

    @property
    def message(self) -> str:
        return str(self.attempt.alert.message_id)

    def is_wanted(self, talk: Conversation) -> bool:
        return self.proved or voice.is_wanted(self.attempt.id)

    def _pin(self, talk: Conversation, value: str) -> str | None:
        now = clock.utc_now()
        answer = pins.check_pin(self.user, value, now)
        if answer == pins.PinAnswer.OK:
            self.proved = True
            voice.proved(talk.call, now)
        elif answer == pins.PinAnswer.LOCKED:
            talk.outcome = "locked"
        return answer.value

    def _disown(self, talk: Conversation, value: str) -> str | None:
        talk.outcome = "wrong_number"
        if self.row.contact_id:
            contacts.disown(self.row.contact_id, "key 9", clock.utc_now())
        return None

    def _take(self, talk: Conversation, value: str) -> str | None:
        try:
            taken = service.take_by_pin(self.message, self.user, clock.utc_now(), talk.call)
        except NightbellError:
            return "gone"
        return "mine" if taken.mine else "other"

    def _pass(self, talk: Conversation, value: str) -> str | None:
        return voice.pass_on(self.attempt, self.user, talk.call, clock.utc_now())

    def _connect(self, talk: Conversation, value: str) -> str | None:
        actor = callback.by_telephone(self.user, talk.call, clock.utc_now())
        try:
            self.back = callback.ask(actor, self.message, on=self.row)
        except NightbellError:
            return "no"
        return "ok"

    def _listen(self, talk: Conversation, value: str) -> str | None:
        """What was said last comes first. It got worse, and that is what they must know."""
        self._left = [one.id for one in voice.parts(self.message) if one.wav_bytes]
        return self._more(talk, value)

    def _more(self, talk: Conversation, value: str) -> str | None:
        """The next one: its audit row first, and then as much as there is, as sound in the phone's memory."""
        if not (self.proved and voice.may_listen(self.attempt.alert.practice_id, clock.utc_now())):
            return "no"
        while self._left:
            message = self._left.pop(0)
            try:
                sound = self._opened(talk, message)
            except (NightbellError, OSError) as error:
                talk.log.failure("call.listen", error, message=message)
                continue
            pieces = [sound[at : at + PIECE] for at in range(0, len(sound), PIECE)]
            self._playing = Heard(message, clock.monotonic(), len(sound) / 8000)
            talk.sound([base64.b64encode(piece).decode() for piece in pieces], len(sound) / 8000)
            return "ok"
        return "no"

    def seen(self) -> set[str] | None:
        return self._played

    def _opened(self, talk: Conversation, message: str) -> bytes:
        """The whole message as µ-law, 8000 a second."""
        wav = playing.whole(callback.by_telephone(self.user, talk.call, clock.utc_now()), message)
        rate = int.from_bytes(wav[24:28], "little")
        return g711.encode(narrow(wav[stored.WAV_HEADER :], rate), Codec.PCMU)

    def cut(self, talk: Conversation, whole: bool) -> None:
        heard, self._playing = self._playing, None
        if heard is not None:
            seconds = heard.seconds if whole else min(clock.monotonic() - heard.since, heard.seconds)
            actor = callback.by_telephone(self.user, talk.call, clock.utc_now())
            if playing.played(actor, heard.message, seconds):
                self._played.add(heard.message)

    def over(self, talk: Conversation, why: str) -> None:
        if why == NO_LEG:
            self._again(talk)
            return
        if not talk.outcome and not self.proved and talk.legs[ME].up:
            why = "unproved"
        super().over(talk, why)

    def _again(self, talk: Conversation) -> None:
        """Nobody was rung. Whoever gave the order writes first that it was given."""
        until = clock.monotonic() + SENDER_S
        while voice.is_waiting(self.attempt.id) and clock.monotonic() < until:
            time.sleep(0.05)
        voice.again(talk.call, NO_LEG, clock.utc_now())


def narrow(pcm: bytes, rate: int) -> bytes:
    """16 bit PCM at 8000 samples a second. rate: 8000 or 16000."""
    if rate != 16_000:
        return pcm
    samples = memoryview(pcm[: len(pcm) // 4 * 4]).cast("h")
    halves = ((samples[at] + samples[at + 1]) // 2 for at in range(0, len(samples), 2))
    return b"".join(one.to_bytes(2, "little", signed=True) for one in halves)


class Asking(Somebodys):
    """A colleague is offered a shift."""

    def __init__(self, user: User, swap: Swap, number: int) -> None:
        self.user, self.swap, self.number = user, swap, number

    def _open(self) -> bool:
        return any(one.swap.id == self.swap.id and one.number == self.number for one in swaps.asking())

    def is_wanted(self, talk: Conversation) -> bool:
        return talk.legs[ME].up or self._open()

    def _pin(self, talk: Conversation, value: str) -> str | None:
        return pins.check_pin(self.user, value, clock.utc_now()).value

    def _answer(self, talk: Conversation, value: str) -> str | None:
        try:
            found = swaps.answer(self.swap.id, self.user, value == "yes", clock.utc_now(), "phone")
        except BadSwap:
            found = swaps.Answered.OVER
        return found.value

    def over(self, talk: Conversation, why: str) -> None:
        now = clock.utc_now()
        super().over(talk, why)
        if self._open() and self.swap.by_phone:
            # No answer: the next one at once. Whoever was asked may still say yes while nobody has it.
            Swap.objects.filter(pk=self.swap.pk, state=SwapState.ASKED, next_at__gt=now).update(next_at=now)


@dataclass
class Staff(Plain):
    """Somebody on the staff line. user: whose proved number calls, None for a stranger, who is asked for a PIN all the same
    and never gets in: nobody learns which numbers are known. contact: that number, theirs to speak by once the PIN was
    right; shown: the number of a stranger. Monotonic seconds: since."""

    user: User | None
    whom: list[str] = field(default_factory=list)
    contact: Contact | None = None
    shown: str = field(default="", repr=False)
    proved: bool = False
    since: float = field(default_factory=clock.monotonic)
    swap: Swap | None = None
    told: tuple[str, int] = ("", 0)

    def still(self) -> bool:
        found = _anew(self.user) if self.user is not None else None
        locked_out = self.user is not None and found is None
        self.user = found or self.user
        return not locked_out

    def _pin(self, talk: Conversation, value: str) -> str | None:
        now = clock.utc_now()
        if self.user is None or not pins.has_pin(self.user):
            return pins.check_stranger(self.shown, value, now).value
        answer = pins.check_pin(self.user, value, now, rang_in=True)
        if answer == pins.PinAnswer.OK:
            self.proved = True
            voice.speaks(talk.call, self.contact)
        return answer.value

    def _ask(self, talk: Conversation, value: str) -> str | None:
        if self.user is None:
            return "no"
        now = clock.utc_now()
        turns = swaps.turns_of(self.user, now)
        if not turns:
            return "no"
        schedule, duty = turns[0]
        chosen = self.whom[int(value) - 1]
        order = [chosen, *(one for one in self.whom if one != chosen)]
        begins = max(duty.starts_at, now)
        ends = min(duty.ends_at, begins + swaps.LONGEST)  # the rest of a longer turn stays theirs
        try:
            self.swap = swaps.ask(self.user, begins, ends, order, now, True, schedule=schedule)
        except NightbellError:
            return "no"
        self.told = ("", len(self.swap.asked))
        return "ok"

    def is_wanted(self, talk: Conversation) -> bool:
        """Looks at how the asking stands, too: whoever waits is told. Nobody holds the line without a PIN."""
        if not self.proved and clock.monotonic() - self.since > UNPROVED_S:
            return False
        if self.swap is None or talk.over.is_set():
            return True
        row = Swap.objects.get(pk=self.swap.pk)
        news = self._news(row)
        if news:
            talk.step(Told("swap", news))
        return True

    def _news(self, row: Swap) -> str:
        if row.state == SwapState.ACCEPTED:
            found = "done"
        elif row.state != SwapState.ASKED:
            found = "failed"
        elif len(row.asked) > self.told[1]:
            before = row.asked[self.told[1] - 1] if self.told[1] else {}
            found = "no" if before.get("answer") == "no" else "silent"
        else:
            return ""
        if found == self.told[0] and found in ("done", "failed"):
            return ""
        self.told = (found, len(row.asked))
        return found
