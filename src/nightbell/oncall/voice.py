"""Calls by telephone as rows: made before anything rings, ended once, and what their end means for an alert.

The id of a row is the call's id on the phone, so that an order that is given twice is one call. An attempt by telephone is
sent when the call was ordered, delivered when a PIN was right, and failed with every other end: then the next step of its
alert is due at once, unless another way that wakes is out (oncall.attempts.go_on).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Greatest

from nightbell.audit import service as audit
from nightbell.core import faults
from nightbell.core.dialling import allowed, e164
from nightbell.core.ids import new_ulid
from nightbell.mailbox.joining import together
from nightbell.mailbox.models import Message, State
from nightbell.oncall import outcomes, policies, receipts, sending, whom
from nightbell.oncall.dialogue import Purpose
from nightbell.oncall.models import Alert, AlertState, Attempt, AttemptState, CallBack, Swap, VoiceCall
from nightbell.oncall.turns import Facts
from nightbell.people import contacts, risks
from nightbell.people.models import Contact, ContactKind, User
from nightbell.people.risk_rules import Standing, standing
from nightbell.people.roles import Act, Part, may, sees

LISTENING = "phone_listening"  # the risk that a practice accepts: a message is heard over the phone network
RECORDING = "call_recording"  # what a practice decides: call backs are recorded where the patient agrees
UNSETTLED_BACK = timedelta(minutes=5)
SOON = timedelta(seconds=5)  # until an attempt is sent again that rang nowhere
LOST_AFTER = timedelta(seconds=15)  # a call that no phone and no dialogue knows
TELEPHONE = "telephone"
WORDS = {
    "busy": "the line was busy", "no_answer": "nobody answered", "refused": "the call was refused",
    "unreachable": "the number could not be reached", "no_trunk": "no carrier to call by",
    "not_allowed": "this number cannot be called", "wrong_number": "somebody said: wrong number",
    "locked": "too many wrong PINs", "lost": "the call was cut off", "hung_up": "hung up before the PIN",
    "no_leg": "no line of ours was free", "locked_out": "this person may not any more",
    "unproved": "no PIN was keyed: perhaps a machine", "not_needed": sending.NOT_NEEDED,
}  # fmt: skip


def number_of(user: User, now: datetime) -> Contact | None:
    """The first telephone that this person proved and that may be dialled: one on this machine, or in the country."""
    proved = [one for one in contacts.ways(user, now, True) if one.kind == ContactKind.VOICE]
    own = user.practice.number
    return next((one for one in proved if one.address.startswith("sip:") or _rings(one.address, own)), None)


def _rings(number: str, own: str) -> bool:
    return allowed(number, own) and not contacts.is_ours(number)


def may_listen(practice_id: str, now: datetime) -> bool:
    """Whether this practice has put on record that messages may be heard over the phone network."""
    return _decided(LISTENING, practice_id, now)


def may_record(practice_id: str, now: datetime) -> bool:
    """Whether this practice has put on record that patients are asked, and recorded who agree."""
    return _decided(RECORDING, practice_id, now)


def _decided(kind: str, practice_id: str, now: datetime) -> bool:
    """What has run out counts no more: nobody is heard or recorded by a decision that nobody looked at again."""
    decided = risks.on_record(kind).get(practice_id)
    return decided is not None and standing(decided.until, now) is not Standing.EXPIRED


def plan(
    practice_id: str,
    purpose: Purpose,
    now: datetime,
    *,
    user: User | None = None,
    contact: Contact | None = None,
    attempt: Attempt | None = None,
    callback: CallBack | None = None,
    swap: Swap | None = None,
    id: str = "",
) -> VoiceCall:
    """The row of a call that is about to be ordered, or, with its id, of one that came in. Of an attempt there is one open
    call: whoever plans it again gets that."""
    if attempt is not None:
        known = VoiceCall.objects.filter(attempt=attempt, ended_at=None).first()
        if known is not None:
            return known
    made = VoiceCall.objects.create(
        id=id or new_ulid(), practice_id=practice_id, purpose=purpose.value, user=user, contact=contact,
        attempt=attempt, callback=callback, swap=swap, started_at=now,
    )  # fmt: skip
    faults.point("voice.planned")
    return made


def answered(call_id: str, now: datetime) -> None:
    VoiceCall.objects.filter(pk=call_id, answered_at=None, ended_at=None).update(answered_at=now)


def forget(call_id: str, now: datetime, why: str = "no_phone") -> None:
    """It was never ordered: whoever sends it tries again, as does a call back that has no other call."""
    VoiceCall.objects.filter(pk=call_id, ended_at=None).update(ended_at=now, why=why, callback=None)


def proved(call_id: str, now: datetime) -> None:
    """The person whom an attempt was meant for is on the line."""
    attempt = VoiceCall.objects.filter(pk=call_id).values_list("attempt_id", flat=True).first()
    if attempt:
        receipts.note(call_id, True, now, attempt=attempt)


def speaks(call_id: str, contact: Contact | None) -> None:
    """Who rang in was right with the PIN: this telephone of theirs is engaged. Before, anybody may have shown its number,
    and must not keep alerts from it."""
    VoiceCall.objects.filter(pk=call_id, ended_at=None).update(contact=contact)


def finish(call_id: str, why: str, now: datetime) -> bool:
    """It is over. One wins; of an alert's call to somebody who was not proved the next step is due with it."""
    with transaction.atomic():
        won = VoiceCall.objects.filter(pk=call_id, ended_at=None).update(ended_at=now, why=why[:20])
        if not won:
            return False
        row = VoiceCall.objects.get(pk=call_id)
        if row.attempt_id:
            receipts.note(call_id, False, now, attempt=row.attempt_id)
            failed = Attempt.objects.filter(pk=row.attempt_id, receipt=receipts.UNDELIVERED)
            failed.exclude(state=AttemptState.PENDING).update(answer=WORDS.get(why, "not answered"))
        if row.callback_id and row.purpose != Purpose.PATIENT:
            end_callback(row.callback_id, why, now)
    faults.point("voice.finished")
    return True


def end_callback(callback_id: str, why: str, now: datetime) -> bool:
    """It is over, once. When nobody has said what came of it, the message comes back to its owner."""
    with transaction.atomic():
        if not CallBack.objects.filter(pk=callback_id, ended_at=None).update(ended_at=now, why=why[:20]):
            return False
        back = CallBack.objects.select_related("user").get(pk=callback_id)
        message = Message.objects.select_for_update().get(pk=back.message_id)
        if message.state == State.OWNED and message.owner_id == back.user_id and not hasattr(back, "reach"):
            outcomes.unsettled(message, back.user, now, now + UNSETTLED_BACK)
    return True


def again(call_id: str, why: str, now: datetime) -> bool:
    """It rang nowhere: over, and its attempt is sent again under another id; the try does not count, for nobody was rung.
    An attempt that still waits for its sender is left to that."""
    with transaction.atomic():
        if not VoiceCall.objects.filter(pk=call_id, ended_at=None).update(ended_at=now, why=why[:20]):
            return False
        sent = Attempt.objects.filter(calls=call_id, state=AttemptState.SENT, receipt="")
        sent.update(
            state=AttemptState.PENDING, retry_at=now + SOON, reference="", sent=None, sent_at=None,
            answer=WORDS.get(why, why), tries=Greatest(F("tries") - 1, 0),
        )  # fmt: skip
    faults.point("voice.again")
    return True


def lose(row: VoiceCall, now: datetime, rang: bool = False) -> bool:
    """No phone has it. Whoever sent it and never wrote that it was sent was killed, perhaps before it was ordered: then
    it is sent again. rang: a phone had it, and we end it: while nobody has answered that is no answer either."""
    states = [AttemptState.PENDING, *([AttemptState.SENT] if rang and row.answered_at is None else [])]
    waits = Attempt.objects.filter(pk=row.attempt_id, state__in=states, receipt="").exists()
    return again(row.id, "lost", now) if waits else finish(row.id, "lost", now)


def is_waiting(attempt_id: str) -> bool:
    """Whether its sender has not written yet what became of it."""
    return Attempt.objects.filter(pk=attempt_id, state=AttemptState.PENDING).exists()


def is_engaged(contact: str | None, besides: Attempt | None = None) -> bool:
    """Whether a call is under way with this telephone: of ours, or theirs with the right PIN. besides: of anything else than
    this attempt."""
    if contact is None:
        return False
    here = VoiceCall.objects.filter(contact=contact, ended_at=None)
    return (here if besides is None else here.exclude(attempt=besides)).exists()


def parts(message_id: str) -> list[Message]:
    """A message and what was said later, the newest first."""
    alive = together(message_id).exclude(state=State.DISPOSED)
    return list(alive.order_by("-received_at", "-id"))


def is_wanted(attempt_id: str) -> bool:
    """Whether the person of this attempt is still to be told."""
    attempt = Attempt.objects.select_related("alert__message").filter(pk=attempt_id).first()
    return attempt is not None and sending.is_needed(attempt, attempt.alert, attempt.alert.message)


def facts_of(attempt: Attempt, opening: tuple[str, ...], dials: bool, now: datetime) -> Facts:
    """What the call of an attempt may offer. dials: there is a way to the phone network."""
    message, user = attempt.alert.message, attempt.user
    if user is None:
        return Facts(opening, passes=False)
    said = parts(message.id)
    sounds = any(one.wav_bytes for one in said)
    plays = may(user.role, Act.PLAY) and sees(user.role, Part.AUDIO) and sounds
    calls = may(user.role, Act.CALL) and sees(user.role, Part.NUMBER)
    shows = bool(e164(user.practice.number))  # else the patient would be shown nothing
    numbered = any(one.callback_sealed is not None or one.caller_sealed is not None for one in said)
    return Facts(
        opening,
        listens=plays and may_listen(message.practice_id, now),
        connects=dials and calls and shows and numbered and "drill" not in message.tags,
        passes=not attempt.alone,
        records=may_record(message.practice_id, now),
    )


def pass_on(attempt: Attempt, user: User, call_id: str, now: datetime) -> str:
    """Somebody who was proved passes it on: the next step is due now.

    Returns 'next', 'last' when nobody but the last resort follows, or 'nobody' when nothing does: the last step repeats
    at its own pace.
    """
    alert = Alert.objects.select_related("practice", "message", "schedule").get(pk=attempt.alert_id)
    policy, number = policies.read_policy(alert.policy), attempt.step - alert.began
    further = policies.is_further(policy, number) and not attempt.alone
    with transaction.atomic():
        if further:
            held = Alert.objects.filter(pk=alert.pk, step=attempt.step + 1, state=AlertState.OPEN)
            held.update(next_at=now)
        audit.record(
            alert.practice_id, actor=f"user:{user.login}", action="alert:pass", now=now, message=alert.message_id,
            source=TELEPHONE, outcome="ok" if further else "refused",
            detail={"alert": alert.id, "step": attempt.step, "call": call_id},
        )  # fmt: skip
    if not further or policy is None:
        return "nobody"
    following = policies.tell(policy, number + 1, whom.facts(alert, policy, now), now, alert.urgency)
    return "last" if following.last_resort else "next"


def lost(known: Collection[str], now: datetime) -> list[VoiceCall]:
    """Open calls that neither a dialogue nor a phone knows any more. known: ids of both."""
    old = VoiceCall.objects.filter(ended_at=None).exclude(pk__in=list(known))
    return [row for row in old.order_by("started_at")[:100] if abs(now - row.started_at) > LOST_AFTER]
