"""A practice that can take a call and wake somebody: made whole or not at all, by whoever asks."""

from __future__ import annotations

import re
from datetime import datetime

from django.db import transaction

from nightbell.audit import service as audit
from nightbell.mailbox.models import Mailbox, Number
from nightbell.oncall.models import Schedule
from nightbell.people.models import Practice, User
from nightbell.people.practices import BadPerson, add_practice

FIRST_MAILBOX = "Messages"


def found(name: str, zone: str, dialled: str, actor: str, now: datetime) -> Practice:
    """A practice with one mailbox, one number and a schedule. Raises BadPerson; then nothing was made."""
    plain = Number.plain(dialled)
    if not re.fullmatch(r"[0-9a-z_]{2,40}", plain):
        raise BadPerson("The practice was not made", "that is no number", "give digits (or a SIP user name)")
    if Number.objects.filter(pk=plain).exists():
        raise BadPerson("The practice was not made", f"{plain} already has a practice", "give another number")
    with transaction.atomic():
        practice = add_practice(name, zone, plain[:20], actor, now)
        mailbox = Mailbox.objects.create(practice=practice, name=FIRST_MAILBOX)
        Number.objects.create(dialled=plain, mailbox=mailbox)
        Schedule.objects.create(practice=practice)
    return practice


def set_fallback(practice: Practice, user: User, actor: str, now: datetime) -> None:
    """Who is told when nobody else is there or answers. Raises BadPerson."""
    if user.practice_id != practice.id or not user.is_active or not user.email:
        raise BadPerson(
            "The fallback was not set",
            "it needs an active person of the practice with an email",
            "choose another",
        )
    with transaction.atomic():
        Schedule.objects.update_or_create(practice=practice, main=True, defaults={"fallback": user})
        audit.record(
            practice.id, actor=actor, action="schedule:fallback", now=now, detail={"user": user.login}
        )
