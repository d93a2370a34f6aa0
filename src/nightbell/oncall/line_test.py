"""Is the line really there tonight? Each evening our own public number is called through the carrier's forwarding, and whoever
is on call presses a key. And drills: an invented patient's message that wakes the real ladder.

A test is a row with one entry a check before anything is called; it ends once, and a failure is told to the managers. The
call is known to be ours by three things together: it shows the practice's own number, it was answered when ours was, and it
ended when ours did. What is taken for ours is closed, not destroyed: it can be opened again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Q

from nightbell.audit import service as audit
from nightbell.core.clock import iso
from nightbell.core.dialling import e164
from nightbell.core.notice import NoticeKind
from nightbell.mailbox.errors import NotNow
from nightbell.mailbox.models import Mailbox, Message, Outcome, State, Urgency
from nightbell.mailbox.opening import is_from
from nightbell.oncall import notices, policies, voice, whom
from nightbell.oncall.models import Alert, Attempt, AttemptState, LineTest, VoiceCall
from nightbell.people import contacts
from nightbell.people.access import Actor, NotFound, demand
from nightbell.people.models import ContactKind, Practice, User
from nightbell.people.roles import Act

ACTOR = "system:worker"
EVENING, DRILL = "evening", "drill"
RUNNING, PASSED, FAILED = "running", "passed", "failed"
LATEST = timedelta(hours=3)  # after its time, when nobody was there to begin it
CLOSE = timedelta(seconds=10)  # two clocks of one call may differ by so much: ours and the carrier's way
TAKEN_IN = timedelta(minutes=2)  # from the end of our call until its message must be there
LONGEST = timedelta(minutes=12)  # of a whole evening test
SET_BACK = timedelta(minutes=1)  # a clock that is put right by seconds ends no test
DRILL_SLACK = timedelta(minutes=5)
DRILL_OPEN = timedelta(
    minutes=15
)  # in which whoever took a drill may close it themselves, which counts in its score
ENOUGH_HEARD = 250  # packets: five seconds of the greeting
TAG = "line-test"
CHECKS = {
    "answered": "our number is answered", "greeting": "the greeting is heard", "message": "a message is recorded and taken in",
    "on_call": "whoever is on call is there",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Score:
    """How a drill went: seconds from its message to each, None for what did not happen. by: who took it."""

    told_s: float | None
    taken_s: float | None
    closed_s: float | None
    by: str


def is_due(zone: ZoneInfo, at: int, last: datetime | None, now: datetime) -> bool:
    """Whether this evening's test is due: its minute of the local day has come, and there was none since. Pure."""
    local = now.astimezone(zone)
    began = datetime.combine(local.date(), time(at // 60, at % 60), zone)
    if not timedelta() <= local - began < LATEST:
        return False
    return last is None or last < began or last > now + LATEST


def due(now: datetime) -> list[Practice]:
    """Practices whose test is to be begun. By itself a number is called only once a test that somebody began has come in by
    it: one that was mistyped is a stranger's."""
    found = []
    for practice in Practice.objects.exclude(line_test_at=None).exclude(number="").order_by("id"):
        if not is_proved(practice):
            continue
        last = LineTest.objects.filter(practice=practice, kind=EVENING).order_by("-began_at").first()
        try:
            zone = ZoneInfo(practice.zone)
        except (KeyError, ValueError):
            continue
        at = practice.line_test_at or 0
        runs = last is not None and last.state == RUNNING
        if not runs and at < 1440 and is_due(zone, at, last.began_at if last else None, now):
            found.append(practice)
    return found


def is_proved(practice: Practice) -> bool:
    """Whether a test of the line has come in by the number that the practice has now."""
    return bool(practice.tested_number) and practice.tested_number == e164(practice.number)


def begin(practice: Practice, call: str, now: datetime) -> LineTest:
    """The row, before anything is called. call: the id of the VoiceCall to our own number."""
    with transaction.atomic():
        made = LineTest.objects.create(practice=practice, kind=EVENING, began_at=now, call=call)
        _audit(made, "test:begin", "ok", now)
    return made


def ask(actor: Actor) -> LineTest:
    """Have the worker test the line now. Raises Forbidden, NotNow."""
    demand(actor, Act.EDIT_SCHEDULE)
    return begin_now(actor.user.practice, actor.name, actor.now, actor.source)


def begin_now(practice: Practice, by: str, now: datetime, source: str = "") -> LineTest:
    """The same by somebody who looks after the system. by: as in the log. Raises NotNow."""
    with transaction.atomic():
        locked = Practice.objects.select_for_update().get(pk=practice.pk)
        if not e164(locked.number):
            raise NotNow("No test was begun", "the practice has no telephone number", "have it set")
        if LineTest.objects.filter(practice=practice, kind=EVENING, state=RUNNING).exists():
            raise NotNow("No test was begun", "one is under way", "wait until it has ended")
        made = LineTest.objects.create(practice=practice, kind=EVENING, began_at=now)
        audit.record(
            practice.id, actor=by, action="test:begin", now=now, source=source, detail={"test": made.id}
        )
    return made


def note(test_id: str, check: str, ok: bool, now: datetime, why: str = "") -> bool:
    """One check, once. why: in words, '' for nothing to say."""
    with transaction.atomic():
        row = LineTest.objects.select_for_update().filter(pk=test_id, state=RUNNING).first()
        if row is None or check in row.checks:
            return False
        row.checks[check] = {"ok": ok, "at": iso(now), "why": why}
        row.save(update_fields=["checks"])
    return True


def is_left(row: LineTest, now: datetime) -> bool:
    """Whether its call was not made yet; or nobody drives it any more, and nobody noted how it ended: its worker was killed."""
    if "answered" in row.checks:
        return False
    if not row.call:
        return True
    call = VoiceCall.objects.filter(pk=row.call).first()
    since = row.began_at if call is None else call.ended_at
    return since is not None and voice.LOST_AFTER < now - since < LONGEST


def call_anew(row: LineTest, call: str) -> bool:
    """Under another id, before anything is called. Returns False when somebody else was quicker."""
    return bool(LineTest.objects.filter(pk=row.pk, state=RUNNING, call=row.call).update(call=call))


def running(kind: str) -> list[LineTest]:
    return list(
        LineTest.objects.filter(kind=kind, state=RUNNING).select_related("practice").order_by("began_at")
    )


def settle_message(row: LineTest, now: datetime) -> bool:
    """Look for the message of our own call, mark and close it. Returns whether the check is done, one way or the other."""
    call = VoiceCall.objects.filter(pk=row.call).first()
    if call is None or call.answered_at is None:
        return note(row.id, "message", False, now, "our number was not answered")
    if call.ended_at is None:
        return False
    near = Message.objects.filter(
        practice=row.practice, answered_at__gte=call.answered_at - CLOSE, answered_at__lte=call.answered_at + CLOSE,
        received_at__gte=call.ended_at - CLOSE, received_at__lte=call.ended_at + CLOSE,
    )  # fmt: skip
    found = next((one for one in near if is_from(one, row.practice.number)), None)
    if found is not None:
        return _ours(row, found, now)
    if now - call.ended_at > TAKEN_IN:
        return note(row.id, "message", False, now, "the message of the test did not come in")
    return False


def _ours(row: LineTest, message: Message, now: datetime) -> bool:
    with transaction.atomic():
        still = Message.objects.select_for_update().get(pk=message.pk)
        if TAG not in still.tags:
            still.tags = [*still.tags, "test", TAG]
            change: dict[str, Any] = {"tags": still.tags}
            if still.state == State.NEW and still.urgency != Urgency.URGENT:
                change |= {"state": State.CLOSED, "outcome": Outcome.NO_CALL_NEEDED, "closed_at": now}
            Message.objects.filter(pk=still.pk).update(**change)
            audit.record(
                row.practice_id, actor=ACTOR, action="test:message", now=now, message=still.id,
                detail={"test": row.id},
            )  # fmt: skip
        LineTest.objects.filter(pk=row.pk).update(message=still)
        sound = still.wav_bytes > 0
        why = "" if sound else "it has no sound"
        note(row.id, "message", sound, now, why)
        if sound:
            Practice.objects.filter(pk=row.practice_id).update(tested_number=e164(row.practice.number))
    return True


def end_when_done(row: LineTest, now: datetime) -> bool:
    """End an evening test when every check is done, or none comes any more."""
    row.refresh_from_db()
    if row.state != RUNNING:
        return False
    late = not -SET_BACK <= now - row.began_at < LONGEST
    if set(CHECKS) - set(row.checks) and not late:
        return False
    for check in set(CHECKS) - set(row.checks):
        note(row.id, check, False, now, "it was not done in time")
    row.refresh_from_db()
    return end(row, all(one["ok"] for one in row.checks.values()), now)


def end(row: LineTest, passed: bool, now: datetime) -> bool:
    """Once; a failure is planned to be told to every manager in the same transaction, of an evening test by telephone too."""
    with transaction.atomic():
        won = LineTest.objects.filter(pk=row.pk, state=RUNNING).update(
            state=PASSED if passed else FAILED, ended_at=now, told_at=None if passed else now
        )
        if won and not passed:
            for user in whom.managers(row.practice_id):
                notices.plan(user, NoticeKind.LINE_TEST, f"line-test:{row.id}:{user.id}", now)
                if row.kind == EVENING and _is_rung_too(user, now):
                    key = f"line-test-call:{row.id}:{user.id}"
                    notices.plan(user, NoticeKind.LINE_TEST, key, now, by=ContactKind.VOICE)
        if won:
            _audit(row, "test:end", "ok" if passed else "failed", now)
    return bool(won)


def _is_rung_too(user: User, now: datetime) -> bool:
    """Whose notice goes another way first, and who has a telephone: a mail wakes nobody."""
    first = contacts.ways(user, now, True)[:1]
    return voice.number_of(user, now) is not None and first[0].kind != ContactKind.VOICE


def _audit(row: LineTest, action: str, outcome: str, now: datetime, actor: str = ACTOR) -> None:
    audit.record(
        row.practice_id, actor=actor, action=action, now=now, outcome=outcome, message=row.message_id or "",
        detail={"test": row.id, "kind": row.kind, "failed": sorted(failed(row.checks))},
    )  # fmt: skip


def failed(checks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the checks that failed, in their order. Pure."""
    return [name for name in CHECKS if name in checks and not checks[name].get("ok")]


def latest(practice_id: str) -> LineTest | None:
    """The newest evening test that has ended; None where there was none. For pages."""
    ended = LineTest.objects.filter(practice_id=practice_id, kind=EVENING).exclude(state=RUNNING)
    return ended.order_by("-began_at").first()


def trouble(practice_id: str) -> str:
    """What a red banner says: what failed last evening, in words; '' when nothing did."""
    row = latest(practice_id)
    if row is None or row.state != FAILED:
        return ""
    found = [
        f"{CHECKS[name]}: no, {row.checks[name].get('why') or 'it failed'}" for name in failed(row.checks)
    ]
    return "; ".join(found) or "it did not come to its end"


# Drills.


def ask_drill(actor: Actor) -> LineTest:
    """Have the worker leave an invented patient's urgent message, which wakes whoever is on call. Raises Forbidden, NotNow."""
    demand(actor, Act.EDIT_SCHEDULE)
    return begin_drill(actor.user.practice, actor.name, actor.now, actor.source)


def begin_drill(practice: Practice, by: str, now: datetime, source: str = "") -> LineTest:
    """The same by somebody who looks after the system. by: as in the log. Raises NotNow, NotFound."""
    with transaction.atomic():
        Practice.objects.select_for_update().get(pk=practice.pk)
        if LineTest.objects.filter(practice=practice, kind=DRILL, state=RUNNING).exists():
            raise NotNow("No drill was begun", "one is under way", "wait until it has ended")
        if not Mailbox.objects.filter(practice=practice).exists():
            raise NotFound("No drill was begun", "the practice has no mailbox", "have one made")
        made = LineTest.objects.create(practice=practice, kind=DRILL, began_at=now)
        audit.record(
            practice.id, actor=by, action="drill:begin", now=now, source=source, detail={"test": made.id}
        )
    return made


def watch_drill(row: LineTest, now: datetime) -> bool:
    """A drill ends when somebody has its message, or when the whole ladder was told in vain."""
    message = Message.objects.filter(pk=row.id).first()
    if message is None:
        return end(row, False, now) if now - row.began_at > DRILL_SLACK else False
    if row.message_id is None:
        LineTest.objects.filter(pk=row.pk).update(message=message)
        row.message = message
    if message.state != State.NEW:
        return end(row, True, now)
    alert = Alert.objects.filter(message=message).first()
    policy = policies.read_policy(alert.policy) if alert else None
    longest = (policies.longest_round(policy) if policy else timedelta()) + DRILL_SLACK
    if now - row.began_at <= longest:
        return False
    with transaction.atomic():  # nobody took it: it rings no more
        closed = Message.objects.filter(pk=message.pk, state=State.NEW).update(
            state=State.CLOSED, outcome=Outcome.NO_CALL_NEEDED, closed_at=now, needs_alert=False
        )
        if closed:
            audit.record(
                row.practice_id, actor=ACTOR, action="drill:close", now=now, message=message.id,
                detail={"test": row.id},
            )  # fmt: skip
        return end(row, False, now)


def left_open(now: datetime) -> list[str]:
    """Messages of drills that ended a while ago and that nobody has closed. Nobody waits in them: they are to be ended."""
    past = LineTest.objects.filter(kind=DRILL, ended_at__isnull=False)
    past = past.exclude(ended_at__gt=now - DRILL_OPEN, ended_at__lte=now + SET_BACK)
    open_ones = Message.objects.filter(state__in=[State.NEW, State.OWNED], pk__in=past.values("pk"))
    return list(open_ones.values_list("pk", flat=True)[:50])


def close_drill(message_id: str, now: datetime) -> bool:
    """Once, whoever has it or had it. Returns whether it was open."""
    with transaction.atomic():
        won = Message.objects.filter(pk=message_id, state__in=[State.NEW, State.OWNED]).update(
            state=State.CLOSED, outcome=Outcome.NO_CALL_NEEDED, closed_at=now, needs_alert=False
        )
        if won:
            practice = LineTest.objects.values_list("practice_id", flat=True).get(pk=message_id)
            audit.record(
                practice, actor=ACTOR, action="drill:close", now=now, message=message_id,
                detail={"test": message_id},
            )  # fmt: skip
    return bool(won)


def score(row: LineTest) -> Score:
    """From the invented call's end to the first notice, to its owner, to its close by a person. No PHI: nobody called."""
    message = (
        Message.objects.filter(pk=row.message_id).select_related("owner").first() if row.message_id else None
    )
    if message is None:
        return Score(None, None, None, "")
    sent = Attempt.objects.filter(alert__message=message, state=AttemptState.SENT).exclude(sent_at=None)
    first = sent.order_by("sent_at").values_list("sent_at", flat=True).first()
    name = message.owner.name if message.owner else ""
    return Score(
        _since(message, first),
        _since(message, message.owned_at),
        _since(message, message.closed_at if message.closed_by_id else None),
        name,
    )


def _since(message: Message, at: datetime | None) -> float | None:
    return (at - message.stored_at).total_seconds() if at is not None else None


def drills(practice_id: str, limit: int = 12) -> list[LineTest]:
    """The newest first. For pages."""
    found = LineTest.objects.filter(Q(practice_id=practice_id), kind=DRILL).order_by("-began_at")
    return list(found[:limit])


def set_time(practice: Practice, minutes: int | None, by: str, now: datetime, source: str = "") -> None:
    """When the evening test begins, in minutes of the local day; None for no test. Raises NotNow. Whoever calls this has
    made sure that they may."""
    if minutes is not None and not 0 <= minutes < 1440:
        raise NotNow("The time was not kept", "a day has 1440 minutes", "write a time of the day")
    with transaction.atomic():
        Practice.objects.filter(pk=practice.pk).update(line_test_at=minutes)
        audit.record(
            practice.id, actor=by, action="test:time", now=now, source=source, detail={"at": minutes}
        )


def person_on_call(practice: Practice, ids: list[str]) -> User | None:
    return User.objects.filter(pk__in=ids[:1], is_active=True).select_related("practice").first()
