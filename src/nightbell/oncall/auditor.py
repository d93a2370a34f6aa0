"""The auditor: looks for what stands still, with queries of its own, makes it due again and says so.

It sends nothing and takes no step: what is due is done by the loops, and if they do not, health is red and the outside
hears no heartbeat. Whatever stops an alert (a killed loop, a lost attempt, a lease that nobody renews, a clock that
jumped, a hand in the tables) is found within STANDSTILL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from nightbell.audit import service as audit
from nightbell.mailbox.models import Message, State, Urgency
from nightbell.oncall import policies
from nightbell.oncall.models import Alert, AlertState, Attempt, AttemptState, Reach
from nightbell.oncall.sending import AHEAD, MAX_TRIES
from nightbell.store.due import FAR_AHEAD

ACTOR = "system:auditor"
STANDSTILL = timedelta(seconds=60)
SOON = timedelta(seconds=30)  # a loop does what is due within a second or two
SLACK = timedelta(seconds=5)
MENDED = frozenset({"ahead", "lost", "unsent", "forgotten", "owner gone"})
TO_MORNING = timedelta(hours=26)  # what is not urgent may wait for the morning


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that stands still. why: one word; alert, message, practice: ids, '' where there is none."""

    why: str
    practice: str
    message: str
    alert: str = ""


class Watch:
    """Looks again and again. What stands still at two looks in a row is found: one alone may be a clock that was set, or a
    worker that was busy."""

    def __init__(self) -> None:
        self._seen: set[Finding] = set()
        self._told: set[Finding] = set()

    def look(self, now: datetime) -> list[Finding]:
        """What stands still. What can be made due again is; each is on record once."""
        seen = search(now)
        found = [one for one in seen if one in self._seen]
        told, problems = set(found), list[Exception]()
        for one in found:
            try:
                _raise(one, now, one not in self._told)
            except Exception as error:  # it holds up none of the others
                problems.append(error)
                told.discard(one)
        self._seen, self._told = set(seen), told
        if problems:
            raise problems[0]
        return found


def search(now: datetime) -> list[Finding]:
    """All that stands still now. Reads only."""
    looks = (_late, _unstarted, _unsent, _lost, _ahead, _owned)
    return list(dict.fromkeys(finding for look in looks for finding in look(now)))


def _of(alert: Alert, why: str) -> Finding:
    return Finding(why, alert.practice_id, alert.message_id, alert.id)


def _late(now: datetime) -> Iterator[Finding]:
    """Due, and nobody takes the step."""
    late = Alert.objects.filter(state=AlertState.OPEN, message__state=State.NEW, next_at__lt=now - SOON)
    for alert in late.order_by("next_at", "id")[:200]:
        yield _of(alert, "late")


def _unstarted(now: datetime) -> Iterator[Finding]:
    """Urgent, nobody's, and either not begun though due, or without any alert that rings."""
    waiting = Message.objects.filter(needs_alert=True, stored_at__lt=now - SOON)
    for message in waiting[:200]:
        yield Finding("unstarted", message.practice_id, message.id)
    for message in _forgotten(now)[:200]:
        yield Finding("forgotten", message.practice_id, message.id)


def _unsent(now: datetime) -> Iterator[Finding]:
    """An attempt that no sender takes, or one whose lease lies where none lies."""
    stuck = Q(retry_at__lt=now - SOON) | Q(retry_at__gt=now + AHEAD) | Q(tries__gt=MAX_TRIES)
    pending = Attempt.objects.filter(stuck, state=AttemptState.PENDING).select_related("alert")
    for attempt in pending[:200]:
        yield _of(attempt.alert, "unsent")


def _lost(now: datetime) -> Iterator[Finding]:
    """A step was taken and left no attempt at all."""
    none = ~Exists(Attempt.objects.filter(alert=OuterRef("pk"), step=OuterRef("step") - 1))
    ringing = Alert.objects.filter(none, state=AlertState.OPEN, message__state=State.NEW)
    for alert in ringing[:200]:
        if alert.step > alert.began and alert.next_at > now:
            yield _of(alert, "lost")


def _ahead(now: datetime) -> Iterator[Finding]:
    """Its next step lies further ahead than its policy waits."""
    ahead = Alert.objects.filter(state=AlertState.OPEN, message__state=State.NEW, next_at__gt=now + SLACK)
    for alert in ahead.order_by("-next_at", "id")[:500]:
        if alert.next_at > now + _longest(alert) + SLACK:
            yield _of(alert, "ahead")


def _longest(alert: Alert) -> timedelta:
    """How far ahead its next step may lie."""
    policy, done = policies.read_policy(alert.policy), alert.step - alert.began
    if alert.urgency != Urgency.URGENT and (policy is None or policy.quiet):
        return TO_MORNING
    return policies.wait_after(policy, done - 1, alert.urgency) if done > 0 else timedelta()


def _owned(now: datetime) -> Iterator[Finding]:
    """What should have come back to its owner and did not; and what somebody owns who is locked out."""
    for alert in Alert.objects.filter(handed_until__lt=now - SOON)[:200]:
        yield _of(alert, "not returned")
    for reach in Reach.objects.filter(back_at__lt=now - SOON).select_related("message")[:200]:
        yield Finding("not reminded", reach.message.practice_id, reach.message_id)
    left = Message.objects.filter(
        Q(owner=None) | Q(owner__is_active=False), state=State.OWNED, urgency=Urgency.URGENT, joins=None,
        owned_at__lt=now - SOON,
    )  # fmt: skip
    for message in left[:200]:
        yield Finding("owner gone", message.practice_id, message.id)


def _raise(finding: Finding, now: datetime, tell: bool) -> None:
    """Make it due again, and put it on record."""
    if not tell and finding.why not in MENDED:
        return
    with transaction.atomic():
        changed = _due_again(finding, now)
        if tell or changed:
            audit.record(
                finding.practice, actor=ACTOR, action="alert:stuck", now=now, outcome="failed",
                message=finding.message, detail={"why": finding.why, "alert": finding.alert},
            )  # fmt: skip


def _due_again(finding: Finding, now: datetime) -> bool:
    open_one = Alert.objects.filter(pk=finding.alert, state=AlertState.OPEN)
    if finding.why in ("ahead", "lost"):
        return bool(open_one.filter(next_at__gt=now).update(next_at=now))
    if finding.why == "unsent":
        pending = Attempt.objects.filter(alert=finding.alert, state=AttemptState.PENDING)
        return bool(pending.filter(retry_at__gt=now + AHEAD).update(retry_at=now))
    if finding.why == "forgotten":
        return bool(_forgotten(now).filter(pk=finding.message).update(needs_alert=True, joins=None))
    if finding.why == "owner gone":
        gone = Message.objects.filter(Q(owner=None) | Q(owner__is_active=False), pk=finding.message)
        return bool(
            gone.filter(state=State.OWNED).update(
                state=State.NEW, owner=None, owned_at=None, needs_alert=True
            )
        )
    return False  # it is due: whoever should do it is dead, and health says so


def _forgotten(now: datetime) -> QuerySet[Message]:
    return Message.objects.filter(
        Q(joins=None) | Q(joins__state=State.DISPOSED),  # an addition whose first message is gone stands alone
        ~Exists(Alert.objects.filter(message=OuterRef("pk"), state=AlertState.OPEN)),
        urgency=Urgency.URGENT, state=State.NEW, needs_alert=False, stored_at__lt=now - SOON,
    )  # fmt: skip


def find_forgotten(now: datetime) -> int:
    """Make due again what should ring and does not: urgent, without an owner, no alert open and none due.

    No step of ours leaves one behind; this is the net under them (two workers, a restore, a hand in the tables).
    """
    return _forgotten(now).update(needs_alert=True, joins=None)


def pull_back(now: datetime) -> int:
    """Alerts whose next step a clock that ran ahead put too far away wait no longer than their policy says; at all when
    it is out of all proportion: then nobody knows how long they have waited."""
    pulled = 0
    ahead = Alert.objects.filter(state=AlertState.OPEN, message__state=State.NEW, next_at__gt=now + SLACK)
    for alert in ahead.order_by("-next_at", "id")[:500]:
        latest = now + _longest(alert)
        if alert.next_at > latest + SLACK:
            far = alert.next_at > latest + FAR_AHEAD
            held = Alert.objects.filter(pk=alert.pk, step=alert.step, next_at=alert.next_at)
            pulled += held.update(next_at=now if far else latest)
    return pulled


def telling(message_id: str, now: datetime) -> bool:
    """Whether people are really being told of this message: its alert is open, goes on, and reaches somebody."""
    alert = Alert.objects.filter(message_id=message_id, state=AlertState.OPEN)
    return alert.exclude(_untold(now) | _stuck(now)).exists()


def _stuck(now: datetime) -> Q:
    return Q(next_at__lt=now - STANDSTILL)


def _untold(now: datetime) -> Q:
    """Open alerts whose newest step failed whole, or of which nothing was sent since they began to ring."""
    rung = Attempt.objects.filter(alert=OuterRef("pk"), alone=False)
    latest = rung.filter(step=OuterRef("step") - 1)
    failed = Exists(latest.filter(state=AttemptState.FAILED)) & ~Exists(
        latest.exclude(state=AttemptState.FAILED)
    )
    since = rung.filter(step__gte=OuterRef("began"))
    in_vain = Exists(since.filter(recorded_at__lt=now - STANDSTILL)) & ~Exists(
        since.filter(state=AttemptState.SENT)
    )
    return failed | in_vain


def standing_still(now: datetime, practice_id: str = "") -> int:
    """How many alerts reach nobody or stand still: open ones without a step in the near past or future, or whose step
    failed whole, urgent messages without an alert, attempts that nobody sends.

    practice_id: of one practice alone, '' for all.
    """
    ringing = Alert.objects.filter(state=AlertState.OPEN, message__state=State.NEW)
    waiting = Message.objects.filter(needs_alert=True, stored_at__lt=now - STANDSTILL)
    unsent = Attempt.objects.filter(
        Q(retry_at__lt=now - STANDSTILL) | Q(tries__gt=MAX_TRIES), state=AttemptState.PENDING
    )
    if practice_id:
        ringing, waiting = ringing.filter(practice_id=practice_id), waiting.filter(practice_id=practice_id)
        unsent = unsent.filter(alert__practice_id=practice_id)
    found = waiting.count() + unsent.count()
    if not ringing.exists():  # nearly always: what follows is asked for each practice every two seconds
        return found
    return found + ringing.filter(_stuck(now)).count() + ringing.filter(_untold(now)).count()
