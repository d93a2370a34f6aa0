"""Calls to and from people of ours: what is due is rung, the phone's events find their conversation, and after a crash
nothing rings on that nobody drives.

Every call is a row before it is ordered (oncall.voice). After a start, calls that a phone still has and no conversation
drives are ended, unless two people speak with each other; open rows that no phone knows are lost, and their alerts go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.db.models import Q

from nightbell.core import clock
from nightbell.core.dialling import e164, shown
from nightbell.core.log import Log
from nightbell.core.notice import ChannelError, Receipt, Rendered
from nightbell.oncall import callback, swaps, voice
from nightbell.oncall.dialogue import Purpose
from nightbell.oncall.models import Attempt, CallBack, Notice, VoiceCall
from nightbell.oncall.sending import Sender
from nightbell.oncall.swaps import Asking
from nightbell.oncall.turns import ME, PATIENT, Facts
from nightbell.people import contacts, covers
from nightbell.people.models import ContactKind, Practice, User
from nightbell.server import call_effects as effects
from nightbell.server import shift_words
from nightbell.server.conversation import LATE_S, MOST_S, RING_S, Conversation, Effects, Leg, Order
from nightbell.server.loop import each
from nightbell.server.voice_channel import VoiceChannel, dials, whose

NOTICE_S = 90.0  # how long a notice waits until it was heard: ringing, key 1, and its words
SWAP_AGAIN = timedelta(seconds=60)
REMEMBERED = 200
ENGAGED_S = 20.0  # until a telephone that we are calling already is tried again
ENGAGED = "a call of ours to this telephone is under way"
SWAP_CALLS = 2  # times that one colleague is rung for one shift
LOOK_AGAIN_S = 1.0  # until an attempt looks again whether a phone is there
AWAY = "the phone process is not there"


class Calling:
    """Of one worker. `heard` is for the threads that read the phones; all else for the loop and for senders.

    ready: whether a phone is there that would place a call.
    """

    def __init__(
        self,
        order: Order,
        log: Log,
        wake: threading.Event | None = None,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._order, self._log, self._wake, self._ready = order, log, wake or threading.Event(), ready
        self._talks: dict[str, Conversation] = {}
        self._here: dict[str, set[str]] = {}  # calls that each phone has
        self._strays: set[str] = set()
        self._sound: dict[str, int] = {}  # packets that each call heard, of the last that have ended
        self._rung: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self.began = self.seen = clock.monotonic()  # seen: when a phone was ready last

    def waits(self) -> bool:
        """No phone is ready, and so lately that one may say hello in a moment: after our start, or after its own.

        Nothing is given up meanwhile. Whoever asks looks again; nobody waits in here.
        """
        now = clock.monotonic()
        if self._ready():
            self.seen = now
            return False
        return now - self.seen < voice.LOST_AFTER.total_seconds()

    def _away(self) -> ChannelError:
        """No phone takes an order: of no attempt a try in vain, while one may be back in a moment."""
        return ChannelError(AWAY, after_s=LOOK_AGAIN_S, not_yet=self.waits())

    # From the phones: must not wait.

    def heard(self, phone: str, event: Mapping[str, Any]) -> None:
        name = event["event"]
        with self._lock:
            if name in ("hello", "gone"):
                self._of_phone(phone, name, set(event["legs"]))
                return
            ids = [str(event[key]) for key in ("call", "a", "b") if key in event]
            if name == "leg":
                mine = self._here.setdefault(phone, set())
                (mine.discard if event["state"] == "ended" else mine.add)(ids[0])
            talk = next((self._talks[one] for one in ids if one in self._talks), None)
            if name == "leg" and event["state"] == "ended":
                self._rung = [one for one in self._rung if one["call"] != ids[0]]
                self._sound[ids[0]] = int(event.get("heard", 0))
                while len(self._sound) > REMEMBERED:
                    self._sound.pop(next(iter(self._sound)))
            if talk is None and name == "leg" and event["state"] == "incoming":
                self._rung.append(dict(event))
            elif talk is None and name == "leg" and event["state"] != "ended":
                self._strays.add(ids[0])
        if talk is not None:
            talk.events.put(event)
        else:
            self._wake.set()

    def _of_phone(self, phone: str, name: str, legs: set[str]) -> None:
        """Under the lock. A phone that comes back has another name, perhaps before its old connection is seen to be lost."""
        if name == "hello":
            self._here[phone] = set(legs)
            self._strays |= legs - set(self._talks)
        else:
            self._here.pop(phone, None)
            legs -= self._known_here()
        for talk in {id(one): one for one in self._talks.values()}.values():
            if name == "hello" or any(leg.call in legs for leg in talk.legs.values()):
                talk.events.put({"event": name, "legs": sorted(legs)})
        self._wake.set()

    def heard_of(self, call: str) -> int | None:
        """How many packets of sound a call heard that has ended; None while nobody knows."""
        with self._lock:
            return self._sound.get(call)

    def _known_here(self) -> set[str]:
        return set().union(*self._here.values())

    # Beginning one.

    def begin(
        self, row: VoiceCall, user: User | None, language: str, facts: Facts, doing: Effects
    ) -> Conversation:
        """A conversation before its call is ordered: its first event may come before the order returns."""
        purpose = Purpose(row.purpose)
        talk = Conversation(
            purpose, row.id, row.practice_id, language if language in ("en", "es") else "en", facts, doing,
            self._ordered, self._log,
        )  # fmt: skip
        with self._lock:
            self._talks[row.id] = talk
        return talk

    def _ordered(self, command: str, data: Mapping[str, Any], beside: str = "") -> bool:
        """As the control channel has it; a leg that is placed for a conversation is known as that conversation's."""
        if command == "place_call" and beside:
            with self._lock:
                talk = self._talks.get(beside)
                if talk is not None:
                    self._talks[str(data["call"])] = talk
        return self._order(command, data, beside)

    def place(
        self, talk: Conversation, to: str, practice: Practice, ring_s: int = RING_S, max_s: int = MOST_S
    ) -> bool:
        """Order the call; False, and its row forgotten, when no phone is there."""
        talk.until = clock.monotonic() + ring_s + max_s + LATE_S
        data = {
            "call": talk.call, "to": to, "caller": shown(practice.number), "trunk": "", "practice": practice.id,
            "language": talk.language, "ring_s": ring_s, "max_s": max_s,
        }  # fmt: skip
        if not self._order("place_call", data):
            self._drop(talk)
            voice.forget(talk.call, clock.utc_now())
            return False
        talk.start()
        return True

    def _drop(self, talk: Conversation) -> None:
        with self._lock:
            self._talks = {call: one for call, one in self._talks.items() if one is not talk}

    # The loop.

    def step(self) -> bool:
        """One look: who rang in, what is due, what nobody drives. Returns whether there was anything."""
        self.waits()  # notes that a phone is there
        with self._lock:
            over = [one for one in self._talks.values() if one.over.is_set()]
        for talk in over:
            self._drop(talk)
        problems: list[Exception] = []
        done = self._take_all(problems) + self._adopt_all(problems)
        now = clock.utc_now()
        done += each(lambda: callback.due(now), self._call_back, problems)
        done += each(swaps.asking, self._offer, problems)
        done += each(self._lost, self._finish_lost, problems)
        if problems:
            raise problems[0]  # all had their turn; now the loop may tell of it
        return bool(done)

    def _take_all(self, problems: list[Exception]) -> int:
        """Whoever rings and could not be seen to is seen to at the next look, as long as they ring."""
        with self._lock:
            rung, self._rung = self._rung, []
        return each(lambda: rung, self._take, problems, self._put_back)

    def _put_back(self, event: dict[str, Any]) -> None:
        with self._lock:
            if event["call"] in self._known_here() and event["call"] not in self._talks:
                self._rung.append(event)

    def _adopt_all(self, problems: list[Exception]) -> int:
        with self._lock:
            strays, self._strays = self._strays - set(self._talks), set()

        def put_back(call: str) -> None:
            with self._lock:
                self._strays |= {call} & self._known_here()

        return each(lambda: sorted(strays), self._adopt, problems, put_back)

    def _lost(self) -> list[VoiceCall]:
        if clock.monotonic() - self.began < voice.LOST_AFTER.total_seconds():
            return []  # the phones come first, to tell what they have
        with self._lock:
            known = set(self._talks) | self._known_here()
        return voice.lost(known, clock.utc_now())

    def _finish_lost(self, row: VoiceCall) -> bool:
        return voice.lose(row, clock.utc_now())

    def _adopt(self, call: str) -> bool:
        """A phone has a call that nobody drives: of before a restart. Two who may be speaking are left in peace."""
        with self._lock:
            if call in self._talks:  # begun since
                return False
        row = (
            VoiceCall.objects.filter(pk=call)
            .select_related("callback__user__practice", "callback__message")
            .first()
        )
        back = row.callback if row is not None else None
        if row is not None and back is not None and back.answered_at is not None and back.ended_at is None:
            self._resume(row, back)
            return True
        self._order("hang_up", {"call": call})
        if row is not None:
            voice.lose(row, clock.utc_now(), rang=True)
        return True

    def _resume(self, row: VoiceCall, back: CallBack) -> None:
        """They were brought together: when one hangs up, what came of it is asked for as ever."""
        legs = VoiceCall.objects.filter(callback=back, ended_at=None).order_by("started_at")
        mine = next((one for one in legs if one.purpose != Purpose.PATIENT), None)
        theirs = next((one for one in legs if one.purpose == Purpose.PATIENT), None)
        with self._lock:
            known = row.id in self._talks
            both = mine is not None and theirs is not None and {mine.id, theirs.id} <= self._known_here()
        if known:
            return
        if mine is None or theirs is None or not both:
            self._order("hang_up", {"call": row.id})
            voice.finish(row.id, "lost", clock.utc_now())
            return
        mine.purpose = Purpose.CALLBACK.value  # their dialogue, whatever call it began in
        doing = effects.WithPatient(back.user, mine, back)
        talk = self.begin(mine, back.user, back.user.language, Facts(), doing)
        talk.state = replace(talk.state, place="together", owned=True)
        talk.legs = {ME: Leg(mine.id, up=True), PATIENT: Leg(theirs.id, up=True)}
        with self._lock:
            self._talks[theirs.id] = talk
        # Should they not be joined any more, 'parted' comes and the outcome is asked for.
        self._order("join", {"a": mine.id, "b": theirs.id})
        talk.start()

    def _call_back(self, row: CallBack) -> bool:
        now, contact = clock.utc_now(), row.contact
        if contact is None or contact.ended_at is not None:
            callback.end(row.id, "no_telephone", now)
            return False
        if self.waits():
            return False  # it stays due
        made = voice.plan(
            row.user.practice_id, Purpose.CALLBACK, now, user=row.user, contact=contact, callback=row
        )
        doing = effects.WithPatient(row.user, made, row)
        facts = Facts(connects=True, records=voice.may_record(row.user.practice_id, now))
        talk = self.begin(made, row.user, row.user.language, facts, doing)
        placed = self.place(talk, contact.address, row.user.practice)
        if not placed and not self.waits():
            callback.end(row.id, "no_phone", now)
        return placed

    def _offer(self, asking: Asking) -> bool:
        """Ring a colleague who is asked: once, and once more when nobody answered and time is left. The calls are
        counted, whatever the clock says."""
        now, swap = clock.utc_now(), asking.swap
        ended = list(VoiceCall.objects.filter(swap=swap, user=asking.user).values_list("ended_at", flat=True))
        times = sum(one.get("user") == asking.user.id for one in swap.asked)
        if len(ended) >= SWAP_CALLS * times or self.waits():
            return False
        if any(at is None or abs(now - at) < SWAP_AGAIN for at in ended):
            return False
        contact = voice.number_of(asking.user, now)
        if contact is None or voice.is_engaged(contact.pk):
            return False
        made = voice.plan(
            asking.user.practice_id, Purpose.SWAP, now, user=asking.user, contact=contact, swap=asking.swap
        )
        facts = shift_words.offered(asking, asking.user.language, now)
        doing = effects.Asking(asking.user, asking.swap, asking.number)
        talk = self.begin(made, asking.user, asking.user.language, facts, doing)
        return self.place(talk, contact.address, asking.swap.schedule.practice)

    def _take(self, event: Mapping[str, Any]) -> bool:
        """Somebody rings the staff line. Who it is, the number says that they proved, and then the PIN."""
        now, practice = clock.utc_now(), str(event["practice"])
        caller, found = e164(str(event["caller"])), []
        if caller:
            here = Q(user__practice_id=practice) | Q(
                user__guests__practice_id=practice, user__guests__is_active=True
            )
            proved = contacts.usable().filter(here, kind=ContactKind.VOICE, address=caller)
            found = list(proved.select_related("user__practice").distinct()[:2])
        user = found[0].user if len(found) == 1 else None
        if user is not None and user.practice_id != practice:
            user = covers.guest_of(user, practice)
        if not Practice.objects.filter(pk=practice).exists():
            self._order("hang_up", {"call": event["call"]})
            return True
        whom, language = (
            self._colleagues(user),
            user.language if user else Practice.objects.get(pk=practice).language,
        )
        row = voice.plan(practice, Purpose.STAFF, now, user=user, id=str(event["call"]))
        doing = effects.Staff(user, whom, found[0] if user else None, caller)
        talk = self.begin(row, user, language, Facts(choices=len(whom)), doing)
        talk.events.put(dict(event))
        talk.start()
        return True

    def _colleagues(self, user: User | None) -> list[str]:
        now = clock.utc_now()
        turns = swaps.turns_of(user, now) if user is not None else []
        if user is None or not turns:
            return []
        schedule, duty = turns[0]
        found = swaps.candidates(schedule, user, max(duty.starts_at, now), duty.ends_at)
        return [one.user.id for one in found if one.ways]

    # The channel.

    def sender(self, sender: Sender, demo: bool) -> Sender:
        """The same with telephones. A demo's stay in its outbox, but where somebody set up a carrier."""
        outbox = sender.channels.get("voice") if demo else None
        return replace(sender, channels={**sender.channels, "voice": VoiceChannel(self, outbox)})

    def attempt(self, attempt: Attempt, rendered: Rendered, address: str) -> Receipt:
        """Ring somebody for an alert. Returns when it was ordered; how it ends comes as the attempt's receipt."""
        now, user = clock.utc_now(), attempt.user
        if user is None:
            raise ChannelError("a telephone belongs to a person", permanent=True)
        if self.waits():
            raise self._away()
        if voice.is_engaged(attempt.contact_id, attempt):
            raise ChannelError(ENGAGED, after_s=ENGAGED_S)
        row = voice.plan(
            attempt.alert.practice_id, Purpose.ALERT, now, user=user, contact=attempt.contact, attempt=attempt
        )
        with self._lock:
            known = row.id in self._talks
        receipt = Receipt(" ".join(rendered.voice).encode(), "ringing", row.id)
        if known:
            return receipt
        facts = voice.facts_of(attempt, rendered.voice, dials(), now)
        talk = self.begin(row, user, user.language, facts, effects.Waking(user, row, attempt))
        if not self.place(talk, address, attempt.alert.practice):
            raise self._away()
        return receipt

    def notice(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        """Tell somebody something, and wait until they have heard it. reference: a Notice's id, or of a code or test."""
        now = clock.utc_now()
        planned = Notice.objects.select_related("user__practice").filter(pk=reference).first()
        contact = whose(planned, address)
        if contact is None:
            raise ChannelError("this number is nobody's", permanent=True)
        if self.waits():
            raise self._away()
        if voice.is_engaged(contact.pk):
            raise ChannelError(ENGAGED, after_s=ENGAGED_S)
        user, doing = planned.user if planned else contact.user, effects.Telling()
        row = voice.plan(user.practice_id, Purpose.NOTICE, now, user=user, contact=contact)
        talk = self.begin(row, user, user.language, Facts(rendered.voice), doing)
        if not self.place(talk, address, user.practice, max_s=120):
            raise self._away()
        deadline = clock.monotonic() + NOTICE_S
        while not (doing.heard or talk.over.wait(0.1)) and clock.monotonic() < deadline:
            pass
        if not doing.heard:
            # What was planned is tried again; whose number is not proved yet must not be rung again and again.
            never = planned is None or talk.why == "not_allowed"
            raise ChannelError(voice.WORDS.get(talk.why, "nobody listened to it"), permanent=never)
        return Receipt(
            b"(a call) " + " ".join(one for one in rendered.voice if "digit-" not in one).encode(),
            "heard",
            row.id,
        )
