"""A clinician and a patient are brought together by us: neither sees the other's own number.

Asked for by a page (the clinician's proved telephone rings first) or by key during an alert's call. The patient's number is
opened by the worker at the moment in which it is dialled, after its row in the log. A call back is a row before anything
rings; it ends once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet

from nightbell.core import faults
from nightbell.core.dialling import allowed, e164
from nightbell.core.phi import Warrant
from nightbell.mailbox import service as mailbox
from nightbell.mailbox import talks
from nightbell.mailbox.errors import BadText, NotNow
from nightbell.mailbox.models import SETTLED, Message, State
from nightbell.mailbox.opening import Opener
from nightbell.oncall import outcomes, voice
from nightbell.oncall.dialogue import Purpose
from nightbell.oncall.models import CallBack, VoiceCall
from nightbell.people.access import Actor, NotFound, reveal, write
from nightbell.people.models import Contact, ContactKind, User
from nightbell.people.roles import Act

TOO_LATE = timedelta(minutes=2)  # whoever asked for a call does not wait for it longer than that
RANG = ("busy", "no_answer", "refused")  # ends of a call that was a try
SOURCES = ("keyed", "caller_id", "spoken")


@dataclass(frozen=True, slots=True)
class News:
    """How a call back stands, for the page. state: 'asked', 'ringing_you', 'ringing_patient', 'talking', 'ended'; why: how
    it ended, as voice.WORDS and 'hung_up'; settled: its outcome was noted."""

    id: str
    state: str
    why: str
    answered_at: datetime | None
    ended_at: datetime | None
    settled: bool


def by_telephone(user: User, call_id: str, now: datetime) -> Actor:
    """Somebody whose PIN was right, or who answered the call that their own page asked for."""
    return Actor(user, voice.TELEPHONE, f"{voice.TELEPHONE}:{call_id}", now)


def _first(actor: Actor, message_id: str) -> Message:
    found = mailbox.find(actor, message_id, Act.CALL)
    return mailbox.find(actor, found.joins_id, Act.CALL) if found.joins_id else found


def ask(
    actor: Actor, message_id: str, contact_id: str = "", source: str = "", on: VoiceCall | None = None
) -> CallBack:
    """Have the actor and the patient brought together. contact_id: by which of the actor's telephones, '' for the first;
    source: which of the patient's numbers, as mailbox.values.NumberView, '' for the first; on: a call in which the actor
    is already.

    Raises NotFound, Forbidden; NotNow when it is not the actor's, is being called already, or there is no telephone.
    """
    first = _first(actor, message_id)
    contact = on.contact if on is not None else _telephone(actor, contact_id)
    with transaction.atomic():
        row = Message.objects.select_for_update().get(pk=first.pk)
        if row.state != State.OWNED or row.owner_id != actor.user.id:
            raise NotNow("The patient is not called", "the message is not yours", "take it first")
        if CallBack.objects.filter(message=row, ended_at=None).exists():
            raise NotNow(
                "The patient is not called", "a call is under way already", "wait until it has ended"
            )
        made = CallBack.objects.create(
            message=row, user=actor.user, contact=contact, asked_at=actor.now,
            source=source if source in SOURCES else "",
        )  # fmt: skip
        if on is not None:
            VoiceCall.objects.filter(pk=on.pk).update(callback=made)
        write(
            actor,
            "call:ask",
            message=row.id,
            detail={"call": made.id, "contact": contact.id if contact else ""},
        )
    faults.point("callback.asked")
    return made


def _telephone(actor: Actor, contact_id: str) -> Contact:
    if contact_id:
        mine = Contact.objects.filter(user_id=actor.user.person_id, kind=ContactKind.VOICE, ended_at=None)
        found = mine.filter(pk=contact_id, verified_at__isnull=False).first()
    else:
        found = voice.number_of(actor.user, actor.now)
    if found is None:
        raise NotNow(
            "The patient is not called", "you have no proved telephone", "add one to your ways to be told"
        )
    return found


def due(now: datetime) -> list[CallBack]:
    """Asked for and not begun. What is too old is ended: nobody expects it any more."""
    waiting: QuerySet[CallBack] = CallBack.objects.filter(ended_at=None, calls=None)
    rows = list(waiting.select_related("user__practice", "contact", "message").order_by("asked_at")[:20])
    for row in rows:
        if abs(now - row.asked_at) > TOO_LATE:
            end(row.id, "too_late", now)
    return [row for row in rows if abs(now - row.asked_at) <= TOO_LATE]


def patients_number(row: CallBack, call_id: str, now: datetime) -> str:
    """The number that is to be dialled, E.164, of what was said last that has one; '' where there is none that can be.
    A row in the log first, of each that is opened: 'call:patient'.

    Raises NotFound, Forbidden, AuditClosed, KeysAway.
    """
    actor = by_telephone(row.user, call_id, now)
    message = mailbox.find(actor, row.message_id, Act.CALL)
    if message.state != State.OWNED or message.owner_id != row.user_id:
        return ""  # somebody else has it by now
    return next((found for one in voice.parts(message.id) if (found := _number(actor, one, row))), "")


def _number(actor: Actor, message: Message, row: CallBack) -> str:
    """Of one message. The number that was chosen, or, where none was, the first; '' where that one is not there."""

    def opened(warrant: Warrant) -> str:
        numbers = Opener(actor, warrant, message).numbers()
        dialled = [e164(one.number) for one in numbers if row.source in ("", one.source)]
        return next((one for one in dialled if allowed(one, row.user.practice.number)), "")

    return reveal(actor, Act.CALL, opened, message=message.id, detail={"call": row.id})


def consent(row: CallBack, agreed: bool, call_id: str, leg_id: str, now: datetime) -> bool:
    """What the patient answered when asked whether the call may be recorded, once, with its row in the log. Returns whether it
    is: they agreed, and the practice still wants it.

    leg_id: the patient's leg. Raises AuditClosed, DatabaseError: then nothing is recorded.
    """
    actor = by_telephone(row.user, call_id, now)
    with transaction.atomic():
        wanted = agreed and voice.may_record(row.message.practice_id, now)
        # Who agreed to what the practice does not want any more is no patient who refused: the log alone has it.
        noted = agreed == wanted and talks.note(row.message_id, row.id, agreed, now)
        write(
            actor, "call:consent", message=row.message_id,
            detail={"call": row.id, "leg": leg_id, "agreed": agreed, "recorded": wanted and noted},
        )  # fmt: skip
    faults.point("consent.noted")
    return wanted and noted


def answered(callback_id: str, now: datetime) -> None:
    """By the patient's telephone, the first time."""
    CallBack.objects.filter(pk=callback_id, answered_at=None).update(answered_at=now)


def end(callback_id: str, why: str, now: datetime) -> bool:
    return voice.end_callback(callback_id, why, now)


def settle(
    callback_id: str, outcome: str, call_id: str, now: datetime, seen: Collection[str] | None = None
) -> str:
    """The outcome that was keyed: 'closed', 'open' when the patient still waits, 'no' when it could not be noted.

    seen: as outcomes.record.
    """
    row = CallBack.objects.select_related("user__practice").get(pk=callback_id)
    try:
        outcomes.record(by_telephone(row.user, call_id, now), row.message_id, outcome, seen, call=row)
    except (NotNow, BadText, NotFound):
        return "no"
    return "closed" if outcome in SETTLED else "open"


def unanswered(callback_id: str, call_id: str, now: datetime) -> None:
    """The clinician has hung up while the patient's telephone had rung in vain: that is a try, and it comes back."""
    row = CallBack.objects.get(pk=callback_id)
    rang = VoiceCall.objects.filter(callback=row, purpose=Purpose.PATIENT.value)
    if row.answered_at is None and rang.filter(why__in=RANG).exists():
        settle(callback_id, "no_answer", call_id, now)


def is_over(callback_id: str, now: datetime) -> bool:
    """Whether it ended so long ago that its recording would be here."""
    recent = Q(ended_at=None) | Q(ended_at__gt=now - TOO_LATE)
    return not CallBack.objects.filter(recent, pk=callback_id).exists()


def news(actor: Actor, message_id: str) -> News | None:
    """The newest call back of a message; None where there was none. No PHI. Raises NotFound, Forbidden."""
    first = _first(actor, message_id)
    row = CallBack.objects.filter(message=first).order_by("-asked_at", "-id").first()
    return None if row is None else _news(row)


def _news(row: CallBack) -> News:
    legs = VoiceCall.objects.filter(callback=row)
    state = "asked"
    if row.ended_at is not None:
        state = "ended"
    elif row.answered_at is not None:
        state = "talking"
    elif legs.filter(purpose=Purpose.PATIENT.value).exists():
        state = "ringing_patient"
    elif legs.exists():
        state = "ringing_you"
    settled = hasattr(row, "reach")
    return News(row.id, state, row.why, row.answered_at, row.ended_at, settled)
