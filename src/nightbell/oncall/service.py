"""What people do with the schedule, and what they may see of an alert."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import transaction

from nightbell.oncall import rules
from nightbell.oncall.errors import BadShift
from nightbell.oncall.escalation import telling
from nightbell.oncall.models import Alert, AlertState, Attempt, AttemptState, Override, Schedule, Shift
from nightbell.oncall.roster import OnCallView, WeekView, now_on_call, on_call_ids, week_of
from nightbell.people.access import Actor, NotFound, demand, write
from nightbell.people.models import User
from nightbell.people.roles import Act, may

__all__ = ["OnCallView", "Rung", "WeekView", "now_on_call"]


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder: who was told, is being told or is next. No PHI."""

    name: str
    channel: str
    state: str  # done, now, next, failed
    at: datetime
    answer: str


def ladder(message_id: str) -> tuple[Rung, ...]:
    """Who was told of a message, and who will be told next."""
    alert = Alert.objects.filter(message_id=message_id).select_related("practice").first()
    if alert is None:
        return ()
    rungs = []
    for attempt in Attempt.objects.filter(alert=alert).select_related("user").order_by("recorded_at", "id"):
        state = {AttemptState.SENT: "done", AttemptState.PENDING: "now"}.get(
            AttemptState(attempt.state), "failed"
        )
        name = attempt.user.name if attempt.user else "Fallback"
        rungs.append(
            Rung(
                name,
                attempt.channel,
                state,
                attempt.sent_at or attempt.recorded_at,
                attempt.answer,
            )
        )
    if alert.state == AlertState.OPEN:
        rungs.append(_next_rung(alert))
    return tuple(rungs)


def rings(message_id: str, now: datetime) -> bool:
    """Whether people are being told of this message until one of them has it: not when nothing reaches anybody."""
    return telling(message_id, now)


def _next_rung(alert: Alert) -> Rung:
    order = on_call_ids(alert.practice, alert.next_at)
    telling = rules.tell(rules.read_policy(alert.policy), alert.step - alert.began, order, alert.next_at)
    names = User.objects.in_bulk(list(telling.users))
    name = ", ".join(u.name for u in names.values()) if names else "Fallback"
    return Rung(name, "", "next", alert.next_at, "")


def alert_for_token(actor: Actor, token: str) -> str:
    """The message behind a notification's link. Raises NotFound for any other practice's token."""
    alert = (
        Alert.objects.filter(token=token, practice_id=actor.practice).first() if len(token) == 22 else None
    )
    if alert is None:
        write(actor, "notification:open", outcome="not_found")
        raise NotFound("This link leads nowhere", "it is old, or for another practice", "go to the inbox")
    write(actor, "notification:open", message=alert.message_id)
    return alert.message_id


def week(actor: Actor, monday: date) -> WeekView:
    """The schedule of a week."""
    demand(actor, Act.SCHEDULE)
    return week_of(actor.user.practice, monday)


def colleagues(actor: Actor) -> list[User]:
    """Who may be put on call."""
    demand(actor, Act.SCHEDULE)
    return list(User.objects.filter(practice_id=actor.practice, is_active=True).order_by("name"))


def _colleague(actor: Actor, user_id: str) -> User:
    user = User.objects.filter(pk=user_id, practice_id=actor.practice, is_active=True).first()
    if user is None:
        raise BadShift(
            "Nobody was put on call", "there is no such person in your practice", "choose one from the list"
        )
    if not may(user.role, Act.TAKE):
        raise BadShift(
            f"{user.name} cannot be on call", "this role does not take messages", "choose somebody who does"
        )
    if not user.email:
        raise BadShift(
            f"{user.name} cannot be on call", "there is no address to wake them at", "add their email first"
        )
    return user


def _schedule(actor: Actor) -> Schedule:
    return Schedule.objects.get_or_create(practice=actor.user.practice)[0]


def add_override(actor: Actor, user_id: str, starts_at: datetime, ends_at: datetime) -> str:
    """Put a person on call from one instant to another, whatever the week says. Returns its id."""
    demand(actor, Act.EDIT_SCHEDULE)
    user = _colleague(actor, user_id)
    if starts_at.tzinfo is None or ends_at.tzinfo is None:
        raise BadShift("The override was not kept", "a time has no zone", "give both times with a zone")
    if ends_at <= starts_at or ends_at - starts_at > timedelta(days=31):
        raise BadShift(
            "The override was not kept", "it ends before it starts or lasts over 31 days", "check the times"
        )
    if ends_at <= actor.now:
        raise BadShift("The override was not kept", "it lies in the past", "check the date")
    with transaction.atomic():
        made = Override.objects.create(
            schedule=_schedule(actor), user=user, starts_at=starts_at, ends_at=ends_at, made_by=actor.user
        )
        write(actor, "schedule:override", detail={"override": made.id, "user": user.login})
    return made.id


def remove_override(actor: Actor, override_id: str) -> None:
    demand(actor, Act.EDIT_SCHEDULE)
    with transaction.atomic():
        gone, _ = Override.objects.filter(pk=override_id, schedule__practice_id=actor.practice).delete()
        if not gone:
            raise NotFound("There is no such override", "it was removed already", "reload the page")
        write(actor, "schedule:override_removed", detail={"override": override_id})


def add_shift(actor: Actor, user_id: str, weekday: int, start: int, minutes: int, rank: int = 0) -> str:
    """Add a weekly shift. weekday: Monday 0; start: minutes after local midnight. Returns its id."""
    demand(actor, Act.EDIT_SCHEDULE)
    user = _colleague(actor, user_id)
    if not (0 <= weekday <= 6 and 0 <= start < 1440 and 15 <= minutes <= 7 * 1440 and rank in (0, 1)):
        raise BadShift(
            "The shift was not kept", "its day, start or length is out of range", "check the times"
        )
    with transaction.atomic():
        made = Shift.objects.create(
            schedule=_schedule(actor), user=user, weekday=weekday, start=start, minutes=minutes, rank=rank
        )
        write(actor, "schedule:shift", detail={"shift": made.id, "user": user.login})
    return made.id


def remove_shift(actor: Actor, shift_id: str) -> None:
    demand(actor, Act.EDIT_SCHEDULE)
    with transaction.atomic():
        gone, _ = Shift.objects.filter(pk=shift_id, schedule__practice_id=actor.practice).delete()
        if not gone:
            raise NotFound("There is no such shift", "it was removed already", "reload the page")
        write(actor, "schedule:shift_removed", detail={"shift": shift_id})
