"""Whose a message is, and that it does not rest with them: handed over, given back, and back when nobody was reached.

Three things come back to an owner: a message that was handed to somebody who did not open it, one whose patient was
not reached, and one of which nobody has noted any try. None stays for ever: after a while it rings for all again, and
the record keeps who had it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from nightbell.audit import service as audit
from nightbell.audit.models import Event
from nightbell.core import faults
from nightbell.core.ids import new_token
from nightbell.core.notice import NoticeKind
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.errors import NotNow
from nightbell.mailbox.joining import together
from nightbell.mailbox.models import Message, State, Urgency
from nightbell.mailbox.opening import person
from nightbell.mailbox.values import Person
from nightbell.oncall import attempts, outcomes, policies, routes, whom
from nightbell.oncall.models import Alert, AlertState, CallBack, LineTest, Reach
from nightbell.oncall.start import ACTOR, each, ring_anew
from nightbell.people import contacts
from nightbell.people.access import Actor, write
from nightbell.people.models import User
from nightbell.people.roles import Act, may

OPEN_WITHIN = timedelta(minutes=5)  # that whoever was handed a message has to open it
REMIND_EVERY = timedelta(minutes=5)
UNTRIED, UNTRIED_CALM = (
    timedelta(minutes=15),
    timedelta(hours=1),
)  # that a message may lie with its owner without a try
LATER = timedelta(minutes=15)  # until it is looked again whether somebody may be told of what is not urgent
LONGEST_CALL = timedelta(hours=4)
THRICE = 3
AT_ONCE = 200  # messages that are looked at in one round
AHEAD = timedelta(hours=2)  # nothing here is due further ahead: a clock ran ahead
HAND_OVER = "message:hand_over"
# What shows that whoever was handed a message has seen or heard it: a link that was followed does not.
SEEN = (Act.VIEW.value, Act.PLAY.value, Act.CALL.value, "message:accept", "message:reach")
DRILL = "drill"  # a tag


def hand_over(actor: Actor, message_id: str, user_id: str) -> Person:
    """Give a message of one's own to a colleague, who is told alone. Raises NotNow, NotFound, Forbidden.

    It is theirs at once. If they do not open it within OPEN_WITHIN it comes back and rings.
    """
    found = mailbox.find(actor, message_id, Act.TAKE)
    if found.joins_id:
        found = mailbox.find(actor, found.joins_id, Act.TAKE)
    if user_id == actor.user.id:
        raise NotNow("The message was not handed over", "it is yours already", "choose a colleague")
    colleague = _colleague(actor, user_id)
    if not _may_open(actor, colleague, found):
        raise NotNow(
            "The message was not handed over",
            f"{colleague.name} cannot open one that has no mailbox",
            "choose a manager",
        )
    with transaction.atomic():
        found = _locked(found.id)
        mine = together(found.id).filter(state=State.OWNED, owner=actor.user)
        if found.state != State.OWNED or found.owner_id != actor.user.id:
            raise NotNow("The message was not handed over", "it is not yours any more", "reload the page")
        mine.update(owner=colleague, owned_at=actor.now)
        _told_alone(found, colleague, actor.user, actor.now, first=True)
        write(actor, HAND_OVER, message=found.id, detail={"to": colleague.login})
    faults.point("handed.recorded")
    return person(colleague)


def _colleague(actor: Actor, user_id: str) -> User:
    found = User.objects.select_related("practice").filter(pk=user_id, practice_id=actor.practice)
    user = found.filter(is_active=True).exclude(pk=actor.user.pk).first()
    if user is None or not may(user.role, Act.TAKE):
        raise NotNow("The message was not handed over", "this person takes no messages", "choose another")
    if not contacts.ways(user, actor.now, True):
        raise NotNow(
            "The message was not handed over", f"{user.name} has no proved way to be told", "choose another"
        )
    return user


def _may_open(actor: Actor, user: User, message: Message) -> bool:
    """Unrouted messages are for some roles alone. All others a colleague may open, and who covers once they are told."""
    return message.mailbox_id is not None or replace(actor, user=user, scopes=None).may(Act.UNROUTED)


def _told_alone(
    message: Message, owner: User, by: User | None, now: datetime, first: bool, kind: str = ""
) -> None:
    """Record that the owner alone is told by all ways. by: to whom it goes back; in the caller's transaction."""
    alert = Alert.objects.select_for_update().get(pk=_alert(message, now).pk)  # no step is taken meanwhile
    step = alert.step
    Alert.objects.filter(pk=alert.pk).update(
        state=AlertState.OWNED, owner=owner, owned_at=now, step=F("step") + 1,
        **({} if kind else {"handed_by": by, "handed_until": now + OPEN_WITHIN}),
    )  # fmt: skip
    alert.step = step
    words = kind or policies.notice_kind(message.urgency, 0 if first else 1)
    words = NoticeKind.DRILL.value if DRILL in message.tags else words
    # Who hands a message over means now; what comes back by itself heeds silent hours, unless it is urgent.
    urgency = message.urgency if kind else whom.URGENT
    for way in whom.of([owner], urgency, now).ways:
        attempts.record(alert, way, words, now, alone=True)


def _alert(message: Message, now: datetime) -> Alert:
    """The alert of a message; one that never rang gets a quiet one, for its link and its ladder."""
    chosen = routes.choose(message)
    defaults = {
        "practice": message.practice, "token": new_token(), "state": AlertState.OWNED, "urgency": message.urgency,
        "schedule": chosen.schedule, "policy": policies.freeze(chosen.steps).to_text(), "started_at": now,
        "next_at": now,
    }  # fmt: skip
    return Alert.objects.get_or_create(message=message, defaults=defaults)[0]


def come_back(now: datetime, problems: list[Exception] | None = None) -> int:
    """What was handed over and not opened, whose patient was not reached, and what lies there. Returns how many went on."""
    handed = Alert.objects.filter(Q(handed_until__lte=now) | Q(handed_until__gt=now + AHEAD))
    rows = list(handed.select_related("owner", "handed_by").order_by("handed_until")[:200])
    done = each(rows, _after_handing, now, 50, problems)
    done += each(_lying(now), _remind, now, 50, problems)
    tried = Reach.objects.filter(Q(back_at__lte=now) | Q(back_at__gt=now + AHEAD))
    return done + each(list(tried.order_by("back_at")[:200]), _after_trying, now, 50, problems)


def _lying(now: datetime) -> list[Message]:
    """Owned for a while, and nothing brings them back: no try was noted since they are their owner's. In a drill nobody
    waits."""
    urgent = Q(urgency=Urgency.URGENT) & _since(UNTRIED, now)
    told = Q(Exists(Alert.objects.filter(message=OuterRef("pk")))) & _since(UNTRIED_CALM, now)
    back = Reach.objects.filter(message=OuterRef("pk")).exclude(back_at=None)
    drill = LineTest.objects.filter(pk=OuterRef("pk"))  # its message has its id
    found = Message.objects.filter(
        ~Exists(back), ~Exists(_calls(now).filter(message=OuterRef("pk"))), ~Exists(drill),
        state=State.OWNED, joins=None, owner__isnull=False,
    ).order_by("owned_at", "id")  # fmt: skip
    # Those that may not be told of now stay, and must not stand in the way of others: not even in the query.
    calm = found.filter(told).exclude(urgency=Urgency.URGENT)
    zones = calm.order_by().values_list("practice_id", "practice__zone").distinct()
    awake = [practice for practice, zone in zones if _is_day(zone, now)]
    rows = list(found.filter(urgent)[:AT_ONCE])
    rows += calm.filter(practice__in=awake)[:AT_ONCE] if awake else ()
    return [row for row in rows if DRILL not in row.tags]


def _since(longest: timedelta, now: datetime) -> Q:
    """Owned for longer than that, or by a clock that ran ahead."""
    return Q(owned_at__lte=now - longest) | Q(owned_at__gt=now + AHEAD)


def _calls(now: datetime) -> QuerySet[CallBack]:
    """Calls between an owner and a patient that go on: the owner is not rung meanwhile."""
    return CallBack.objects.filter(ended_at=None, asked_at__gt=now - LONGEST_CALL, asked_at__lt=now + AHEAD)


def _is_day(zone: str, now: datetime) -> bool:
    """What is not urgent wakes nobody because nobody wrote down what came of it."""
    return outcomes.told_at(now, Urgency.ROUTINE, zone) == now


def _remind(message: Message, now: datetime) -> bool:
    """Make it due as a patient who was not reached is: told thrice, then for all."""
    with transaction.atomic():
        still = _locked(message.id)
        if still.state != State.OWNED or still.owner is None or still.owned_at != message.owned_at:
            return False
        if not outcomes.unsettled(still, still.owner, now, now):
            return False
        audit.record(
            still.practice_id, actor=ACTOR, action="message:untried", now=now, message=still.id,
            detail={"owner": still.owner.login},
        )  # fmt: skip
    faults.point("reach.untried")
    return True


def _after_handing(alert: Alert, now: datetime) -> bool:
    with transaction.atomic():
        message = _locked(alert.message_id)
        owner, before = message.owner, alert.handed_by
        held = Alert.objects.filter(pk=alert.pk, handed_until=alert.handed_until)
        if not held.update(handed_until=None, handed_by=None):
            return False
        if message.state != State.OWNED or owner is None or alert.owner != owner or _opened(message, owner):
            return True
        if before is None or not before.is_active or not contacts.ways(before, now, True):
            return ring_anew(message, now, "not opened")
        together(message.id).filter(state=State.OWNED, owner=owner).update(owner=before, owned_at=now)
        _told_alone(message, before, None, now, first=False)
        audit.record(
            message.practice_id, actor=ACTOR, action="message:returned", now=now, message=message.id,
            detail={"from": owner.login, "to": before.login},
        )  # fmt: skip
    faults.point("handed.returned")
    return True


def _locked(message_id: str) -> Message:
    """As it is now, and stays until this transaction ends."""
    return Message.objects.select_for_update().get(pk=message_id)


def _opened(message: Message, owner: User) -> bool:
    """Whether the owner saw or heard it since it is theirs: the log of accesses knows."""
    rows = Event.objects.filter(
        log_id=message.practice_id, message=message.id, actor=f"user:{owner.login}", outcome="ok"
    )
    return rows.filter(at__gte=message.owned_at, action__in=SEEN).exists()


def _may_tell(message: Message, owner: User, reachable: bool, now: datetime) -> bool:
    """Whether its owner may be told of it at this hour. It is asked again and again: a message may become urgent."""
    if message.urgency == Urgency.URGENT:
        return True
    silent = reachable and not contacts.ways(owner, now, False)
    return _is_day(message.practice.zone, now) and not silent


def _after_trying(reach: Reach, now: datetime) -> bool:
    """A patient who was not reached: the owner is told thrice, then all; what is not urgent by day, and in the end it is
    anybody's again."""
    with transaction.atomic():
        message = _locked(reach.message_id)
        held = Reach.objects.filter(pk=reach.pk, back_at=reach.back_at, told=reach.told)
        newer = Reach.objects.filter(message=message, number__gt=reach.number).exclude(back_at=None)
        if message.state != State.OWNED or message.owner is None or newer.exists():
            return bool(held.update(back_at=None))
        if _calls(now).filter(message=message).exists():
            return bool(held.update(back_at=now + REMIND_EVERY))
        reachable = bool(contacts.ways(message.owner, now, True))
        if not _may_tell(message, message.owner, reachable, now):
            held.update(back_at=now + LATER)
            return False
        if reach.told >= THRICE or not reachable:
            return bool(held.update(back_at=None)) and ring_anew(message, now, "patient not reached")
        if not held.update(told=reach.told + 1, back_at=now + REMIND_EVERY):
            return False
        _told_alone(message, message.owner, None, now, first=False, kind=NoticeKind.UNREACHED)
        audit.record(
            message.practice_id, actor=ACTOR, action="message:unreached", now=now, message=message.id,
            detail={"reach": reach.id, "told": reach.told + 1, "owner": message.owner.login},
        )  # fmt: skip
    faults.point("reach.told")
    return True
