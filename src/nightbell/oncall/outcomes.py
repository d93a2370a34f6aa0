"""What came of a try to reach the patient, and when a message comes back that did not reach them.

Each try is a `Reach` row. Its `back_at` is when the message comes back to its owner (null: settled). One row of a
message has it at most: a newer one takes it from the others. The loop that tells people reads it, and is not here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Max, QuerySet

from nightbell.core import faults
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.errors import BadText, NotNow
from nightbell.mailbox.models import SETTLED, Message, Outcome, State, Urgency
from nightbell.oncall import policies
from nightbell.oncall.models import CallBack, Reach
from nightbell.people.access import Actor, write
from nightbell.people.models import User
from nightbell.people.roles import Act

# How long the owner is left alone after a try in vain: a voicemail gives the patient time to ring back, another number
# is there to be rung at once.
COMES_BACK = {
    Outcome.NO_ANSWER: timedelta(minutes=5),
    Outcome.LEFT_WORD: timedelta(minutes=15),
    Outcome.WRONG_NUMBER: timedelta(),
}
THRICE = 3
REOPENED = "reopened"  # no try: a close was taken back
REOPENED_BACK = timedelta(minutes=15)
UNSETTLED = "unsettled"  # no try: nobody has said what came of a call, or of the whole message
NO_TRIES = (REOPENED, UNSETTLED)

_SCRIPTS = {
    "en": ("Hello. You asked us to call you. Please call us back at {}.", "the number that you called"),
    "es": ("Hola. Nos pidió que le llamáramos. Por favor, llámenos al {}.", "número al que llamó"),
}


@dataclass(frozen=True, slots=True)
class Noted:
    """What a try led to. state: of the message now; tries: how many in vain since somebody last reached them;
    back_at: when it comes back, None where it is closed."""

    state: str
    tries: int
    back_at: datetime | None


@dataclass(frozen=True, slots=True)
class Try:
    """One row of the history. No PHI. talked: from the patient's answer to the end of a call that we placed."""

    who: str
    at: datetime
    outcome: str
    back_at: datetime | None
    answered_at: datetime | None = None
    talked: timedelta | None = None


def voicemail_script(language: str, number: str) -> str:
    """All that may be said to a machine, or to whoever else answers: no name, no kind of practice, no reason
    (45 CFR 164.502(b)). number: the practice's, as it is to be read; '' where there is none. Pure."""
    sentence, instead = _SCRIPTS.get(language, _SCRIPTS["en"])
    return sentence.format(number or instead)


def comes_back(outcome: str, tries: int, now: datetime) -> datetime | None:
    """When a message comes back after its `tries`-th try in vain in a row; None: it is settled. Pure.

    Each third time it does not wait: others must be told that this patient was not reached.
    """
    if outcome in SETTLED:
        return None
    return now if escalates(tries) else now + COMES_BACK[Outcome(outcome)]


def told_at(at: datetime, urgency: str, zone: str) -> datetime:
    """When its owner is told of what comes back then: what is not urgent wakes nobody. Pure. A zone that cannot be read has
    no night."""
    if urgency == Urgency.URGENT:
        return at
    try:
        return policies.by_day(at, ZoneInfo(zone))
    except (KeyError, ValueError):
        return at


def escalates(tries: int) -> bool:
    """Whether others are told after this try in vain. Pure."""
    return tries > 0 and tries % THRICE == 0


def record(
    actor: Actor,
    message_id: str,
    outcome: str,
    seen: Collection[str] | None = None,
    call: CallBack | None = None,
    after: int | None = None,
) -> Noted:
    """Note what came of a try. With one of mailbox.models.SETTLED the message is closed; else it stays with its owner
    and comes back. seen: as mailbox.service.close; call: the call that we placed, of which a second outcome changes
    nothing; after: how many tries the person was shown, so that one pressed twice counts once.

    Raises BadText, NotNow, NotFound, Forbidden. One transaction: all of it is there, or nothing.
    """
    if outcome not in Outcome.values:
        raise BadText("Nothing was noted", f"{outcome[:20]!r} is no outcome", "choose one of the list")
    first = _first(actor, message_id)
    with transaction.atomic():
        row = Message.objects.select_for_update().get(pk=first.pk)
        if call is not None and (known := Reach.objects.filter(call=call).first()):
            back = known.back_at and told_at(known.back_at, row.urgency, first.practice.zone)
            return Noted(row.state, tries_in_vain(row.id), back)
        if after is not None and after != tries_shown(row.id):
            raise NotNow("Somebody noted a try meanwhile", "this page is older", "reload the page")
        tries = 0 if outcome in SETTLED else tries_in_vain(row.id) + 1
        if outcome in SETTLED:
            mailbox.close(actor, row.id, outcome, seen)
        else:
            mailbox.tried(actor, row.id, outcome)
        back_at = comes_back(outcome, tries, actor.now)
        # `told` at its end: the loop does not tell the owner thrice more, but rings anew.
        told = THRICE if escalates(tries) else 0
        made = _add(row, actor.user, outcome, actor.now, back_at, call, told)
        write(
            actor,
            "message:reach",
            message=row.id,
            detail={"reach": made.id, "outcome": outcome, "try": tries},
        )
    faults.point("reach.recorded")
    if back_at is None:
        return Noted(State.CLOSED.value, tries, None)
    return Noted(State.OWNED.value, tries, told_at(back_at, row.urgency, first.practice.zone))


def reopen(actor: Actor, message_id: str) -> None:
    """As mailbox.service.reopen. A close taken back is a patient who may still wait: it comes back to its owner."""
    first = _first(actor, message_id)
    with transaction.atomic():
        closed = Message.objects.select_for_update().get(pk=first.pk).state == State.CLOSED
        mailbox.reopen(actor, first.id)
        if closed and Message.objects.filter(pk=first.pk, state=State.OWNED).exists():
            _add(first, actor.user, REOPENED, actor.now, actor.now + REOPENED_BACK)


def unsettled(message: Message, user: User, now: datetime, back_at: datetime) -> bool:
    """Have a message come back to its owner of which nobody has said anything: a call was cut off, or it lies there.

    In the caller's transaction, which holds the message's row. Returns False where something else brings it back.
    """
    if Reach.objects.filter(message=message).exclude(back_at=None).exists():
        return False
    _add(message, user, UNSETTLED, now, back_at)
    return True


def _add(
    message: Message, user: User, outcome: str, now: datetime, back_at: datetime | None,
    call: CallBack | None = None, told: int = 0,
) -> Reach:  # fmt: skip
    """The newest row, which alone says from now on when the message comes back. The caller holds the message's row."""
    rows = Reach.objects.filter(message=message)
    rows.exclude(back_at=None).update(back_at=None)
    last = rows.aggregate(last=Max("number"))["last"] or 0
    return Reach.objects.create(
        message=message, user=user, at=now, outcome=outcome, call=call, back_at=back_at, told=told,
        number=last + 1,
    )  # fmt: skip


def _first(actor: Actor, message_id: str) -> Message:
    """The message that is worked on: for an addition the one that it joins."""
    found = mailbox.find(actor, message_id, Act.CLOSE)
    return mailbox.find(actor, found.joins_id, Act.CLOSE) if found.joins_id else found


def tries_in_vain(message_id: str) -> int:
    """How many tries in a row did not reach the patient, up to now."""
    rows = Reach.objects.filter(message_id=message_id).exclude(outcome=UNSETTLED).order_by("-number")
    count = 0
    for outcome in rows.values_list("outcome", flat=True):
        if outcome in SETTLED or outcome == REOPENED:
            break
        count += 1
    return count


def history(message_id: str) -> tuple[Try, ...]:
    """Every try, oldest first; for the message's page, whose view was audited."""
    rows = _shown(message_id).select_related("user", "call").order_by("number")
    return tuple(_try(row) for row in rows)


def tries_shown(message_id: str) -> int:
    return _shown(message_id).count()


def spoken(message_id: str) -> str:
    """UNSETTLED where the patient answered a call of which nobody has said yet what came, else ''."""
    answered = CallBack.objects.filter(message_id=message_id, reach=None).exclude(answered_at=None)
    return UNSETTLED if answered.exists() else ""


def back_at(message_id: str) -> datetime | None:
    """When the message comes back to its owner; None where nothing is due."""
    due = Reach.objects.filter(message_id=message_id).exclude(back_at=None)
    return due.order_by("-number").values_list("back_at", flat=True).first()


def _shown(message_id: str) -> QuerySet[Reach]:
    """Without what nobody did: it must not look like a try, nor make a page old."""
    return Reach.objects.filter(message_id=message_id).exclude(outcome=UNSETTLED)


def _try(row: Reach) -> Try:
    answered = row.call.answered_at if row.call else None
    ended = row.call.ended_at if row.call else None
    talked = ended - answered if answered and ended else None
    return Try(row.user.name, row.at, row.outcome, row.back_at, answered, talked)
