"""The schedules themselves: another one for a mailbox or a number, its name, its last resort, its calendar feed."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from nightbell.oncall import ical
from nightbell.oncall.errors import BadShift
from nightbell.oncall.models import Schedule
from nightbell.oncall.roster import rota_of
from nightbell.oncall.schedule import MOST_SCHEDULES, colleague, schedule_of
from nightbell.people.access import Actor, NotFound, demand, write
from nightbell.people.models import User
from nightbell.people.roles import Act

FEED_BACK, FEED_AHEAD = timedelta(days=31), timedelta(days=400)
SECRET_LENGTH = 43  # of 32 random bytes, URL-safe


def add_schedule(actor: Actor, name: str) -> str:
    """Another schedule, for routes to send messages to. Returns its id."""
    demand(actor, Act.EDIT_SCHEDULE)
    name = _named(name)
    with transaction.atomic():
        if Schedule.objects.filter(practice_id=actor.practice).count() >= MOST_SCHEDULES:
            raise BadShift("The schedule was not made", "there are 50 already", "remove one first")
        main = not Schedule.objects.filter(practice_id=actor.practice, main=True).exists()
        made = Schedule.objects.create(practice=actor.user.practice, name=name, main=main)
        write(actor, "schedule:add", detail={"schedule": made.id})
    return made.id


def rename(actor: Actor, schedule_id: str, name: str) -> None:
    """Another name for a schedule."""
    demand(actor, Act.EDIT_SCHEDULE)
    schedule = _mine(actor, schedule_id)
    with transaction.atomic():
        Schedule.objects.filter(pk=schedule.pk).update(name=_named(name))
        write(actor, "schedule:rename", detail={"schedule": schedule.id})


def remove_schedule(actor: Actor, schedule_id: str) -> None:
    """Take a schedule away that nothing needs: not the main one, none of a route, none that alerts were made by."""
    demand(actor, Act.EDIT_SCHEDULE)
    schedule = _mine(actor, schedule_id)
    if schedule.main:
        raise BadShift("The schedule stays", "it serves what no rule sends elsewhere", "change who is in it")
    try:
        with transaction.atomic():
            schedule.delete()
            write(actor, "schedule:remove", detail={"schedule": schedule_id})
    except (ProtectedError, IntegrityError) as error:
        raise BadShift(
            "The schedule stays",
            "a rule, an alert or a swap of its past needs it",
            "send its messages elsewhere",
        ) from error


def set_last_resort(actor: Actor, user_id: str, schedule_id: str = "") -> None:
    """Who is told when nobody answers. It can be changed, never emptied: without it the managers are told."""
    demand(actor, Act.EDIT_SCHEDULE)
    user = colleague(actor, user_id)
    if user.home_id is not None:
        raise BadShift(
            f"{user.name} is not the last resort",
            "they are of another practice, and may end their covering at any time",
            "choose somebody of your practice",
        )
    with transaction.atomic():
        schedule = _mine(actor, schedule_id)
        Schedule.objects.filter(pk=schedule.pk).update(fallback=user)
        write(actor, "schedule:fallback", detail={"schedule": schedule.id, "user": user.login})


def new_feed(actor: Actor, schedule_id: str = "") -> str:
    """A new secret address of the schedule's calendar, the only time it can be seen; an older one ends."""
    demand(actor, Act.EDIT_SCHEDULE)
    secret = secrets.token_urlsafe(32)
    with transaction.atomic():
        schedule = _mine(actor, schedule_id)
        Schedule.objects.filter(pk=schedule.pk).update(feed=_digest(secret))
        write(actor, "schedule:feed", detail={"schedule": schedule.id, "replaced": bool(schedule.feed)})
    return secret


def end_feed(actor: Actor, schedule_id: str = "") -> None:
    """End the calendar's address."""
    demand(actor, Act.EDIT_SCHEDULE)
    with transaction.atomic():
        schedule = _mine(actor, schedule_id)
        Schedule.objects.filter(pk=schedule.pk).update(feed="")
        write(actor, "schedule:feed_ended", detail={"schedule": schedule.id})


def feed(secret: str, now: datetime) -> ical.Feed | None:
    """The calendar behind a secret, from a month ago to 400 days ahead, or None. There is nothing of a patient in it."""
    if len(secret) != SECRET_LENGTH:
        return None
    schedule = Schedule.objects.filter(feed=_digest(secret)).select_related("practice").first()
    return calendar_of(schedule, now) if schedule else None


def calendar_of(schedule: Schedule, now: datetime) -> ical.Feed:
    """The duties of a schedule as a calendar, the same bytes all day long while nothing changes."""
    practice = schedule.practice
    rota = rota_of(practice, schedule, now - FEED_BACK)
    midnight = now.astimezone(rota.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    found = rota.duties(midnight - FEED_BACK, midnight + FEED_AHEAD)
    names = dict(User.objects.filter(pk__in={duty.user for duty in found}).values_list("id", "name"))
    return ical.write(found, names, practice.code, practice.language, midnight)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _named(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= 60 or not name.isprintable():
        raise BadShift(
            "The schedule was not kept", "its name is empty, too long or broken", "give a short name"
        )
    return name


def _mine(actor: Actor, schedule_id: str) -> Schedule:
    found = schedule_of(actor, schedule_id)
    if found is None:
        raise NotFound("There is no such schedule")
    return found
