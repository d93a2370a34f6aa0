"""Covering clinicians: somebody of one practice who takes nights of another (docs/adr/0010).

A person has one row for each practice they work in, and one log-in: their own. The row in the practice that they cover
is made when they accept; it carries their name, never their telephones, email, password or PIN. What it may open is
limited to what they were told of (mailbox.service), what it may do to people.roles.COVERING. Every change is in the log
of both practices; what they do with a message is in the log of the practice whose message it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from nightbell.audit import service as audit
from nightbell.core.errors import NightbellError
from nightbell.people import contacts
from nightbell.people.access import Actor, NotFound, demand, write
from nightbell.people.models import ApiToken, Cover, Practice, User
from nightbell.people.roles import Act, Role

CLINICIANS = (Role.CLINICIAN, Role.MANAGER)  # in a small practice the doctor is the manager
MOST = 50  # asked or running, of a practice
ASK, ACCEPT, END = "cover:ask", "cover:accept", "cover:end"


class BadCover(NightbellError):
    """Covering that cannot be, as asked."""


def of_practice(actor: Actor) -> list[tuple[Cover, bool]]:
    """Those who cover here and those who are asked, by name, each with whether they have a proved way to be told: that is
    all that a practice learns of their telephones."""
    demand(actor, Act.SCHEDULE)
    found = Cover.objects.filter(practice_id=actor.practice, ended_at=None).select_related("user__practice")
    told = set(User.objects.filter(contacts.proved(), covers__in=found).values_list("id", flat=True))
    return [(row, row.user_id in told) for row in found.order_by("user__name", "id")]


def of_person(user: User) -> list[Cover]:
    """Where this person is asked to cover and has not answered, then where they cover."""
    found = Cover.objects.filter(user_id=user.person_id, ended_at=None)
    rows = list(found.select_related("practice", "asked_by", "guest").order_by("asked_at", "id"))
    return sorted(rows, key=lambda one: one.accepted_at is not None)


def guests(user: User) -> list[User]:
    """Their rows in practices that they cover now."""
    found = User.objects.filter(home=user, is_active=True).select_related("practice")
    return list(found.order_by("practice__name", "id"))


def guest_of(user: User, practice_id: str) -> User | None:
    """Their row in this practice, None where they do not cover."""
    return next((one for one in guests(user) if one.practice_id == practice_id), None)


def ask(actor: Actor, who: str, then: Callable[[Cover], object] | None = None) -> Cover:
    """Ask a clinician of another practice of this Nightbell, by log-in, email or full name. Raises Forbidden, BadCover.

    Nothing is theirs to see before they have accepted. then: called with the new row in its transaction.
    """
    demand(actor, Act.EDIT_SCHEDULE)
    try:
        user = _found(actor, " ".join(who.split())[:254])
    except BadCover:
        write(actor, ASK, outcome="refused")
        raise
    with transaction.atomic():
        Practice.objects.select_for_update().get(pk=actor.practice)
        running = Cover.objects.filter(practice_id=actor.practice, ended_at=None)
        if running.filter(user=user).exists():
            raise BadCover("Nobody was asked", f"{user.name} covers here or is asked already", "see the list")
        if running.count() >= MOST:
            raise BadCover("Nobody was asked", f"{MOST} cover here or are asked already", "end some first")
        made = Cover.objects.create(
            practice_id=actor.practice, user=user, asked_by=actor.user, asked_at=actor.now
        )
        note(made, actor.name, ASK, actor.now, actor.source)
        if then is not None:
            then(made)
    return made


def _found(actor: Actor, who: str) -> User:
    """Only the whole of it is compared: nobody finds out who works elsewhere by trying letters."""
    if not who:
        raise BadCover("Nobody was asked", "no name was given", "type a log-in, an email or a full name")
    others = User.objects.filter(home=None, is_active=True, role__in=CLINICIANS).select_related("practice")
    same = Q(login=who.lower()) | Q(email__iexact=who) | Q(name__iexact=who)
    found = list(others.filter(same)[:20])
    elsewhere = [one for one in found if one.practice_id != actor.practice]
    if len(elsewhere) == 1:
        return elsewhere[0]
    if elsewhere:
        raise BadCover(
            "Nobody was asked", "more than one person is called that", "type their email or log-in"
        )
    if found:
        raise BadCover(
            "Nobody was asked", f"{found[0].name} works in this practice", "put them on call as they are"
        )
    raise BadCover(
        "Nobody was asked",
        "no clinician of another practice of this Nightbell has exactly this log-in, email or name",
        "ask them for their log-in",
    )


def accept(actor: Actor, cover_id: str) -> Cover:
    """The one who is asked says yes: from now on they can be put on call there. Raises NotFound, BadCover."""
    with transaction.atomic():
        row = _held(cover_id)
        if row is None or row.user_id != actor.user.id:
            raise NotFound(
                "There is no such request", "it was taken back, or is not for you", "reload the page"
            )
        if row.accepted_at is not None:
            return row
        if actor.user.role not in CLINICIANS:
            raise BadCover(
                "You cannot cover", "your role is no clinician's any more", "ask your office manager"
            )
        row.guest = _guest(row)
        row.accepted_at = actor.now
        row.save(update_fields=["guest", "accepted_at"])
        note(row, actor.name, ACCEPT, actor.now, actor.source)
    return row


def _held(cover_id: str) -> Cover | None:
    """One that has not ended, as it is now, held until the transaction ends."""
    held = Cover.objects.select_for_update(of=("self",)).select_related("practice", "user", "guest")
    return held.filter(pk=cover_id, ended_at=None).first()


def _guest(row: Cover) -> User:
    """A row of its own for each time: nothing that an earlier one stood in comes back to life."""
    login = base = f"{row.user.login[:50]}@{row.practice.code.lower()}"  # @: no log-in that is chosen has one
    number = 1
    while User.objects.filter(login=login).exists():
        number += 1
        login = f"{base}.{number}"
    made = User(
        login=login, name=row.user.name, practice=row.practice, role=Role.CLINICIAN,
        language=row.user.language, home=row.user,
    )  # fmt: skip
    made.set_unusable_password()
    made.save(force_insert=True)
    return made


def held_for(actor: Actor, cover_id: str) -> Cover:
    """One that this actor may end, held until the caller's transaction ends: as the one who covers, or as who edits the
    practice's schedules. Raises NotFound."""
    row = _held(cover_id)
    mine = row is not None and row.user_id == actor.user.person_id
    leads = row is not None and row.practice_id == actor.practice and actor.may(Act.EDIT_SCHEDULE)
    if row is None or not (mine or leads):
        raise NotFound("There is no such covering", "it has ended already", "reload the page")
    return row


def close(row: Cover, by: str, now: datetime) -> None:
    """It ends at once: no page, no call and no alert of that practice any more. In the caller's transaction, which
    writes it down and gives back what they owned."""
    Cover.objects.filter(pk=row.pk).update(ended_at=now, ended_by=by[:80])
    if row.guest_id is not None:
        User.objects.filter(pk=row.guest_id).update(is_active=False)
        ApiToken.objects.filter(user=row.guest_id, revoked_at=None).update(revoked_at=now)


def end_all(user: User, by: str, now: datetime) -> None:
    """Of somebody who is locked out. In the caller's transaction."""
    for row in Cover.objects.filter(user=user, ended_at=None).select_related("user", "guest").order_by("id"):
        close(row, by, now)
        note(row, by, END, now)


def note(
    row: Cover,
    by: str,
    action: str,
    now: datetime,
    source: str = "",
    detail: Mapping[str, object] | None = None,
) -> None:
    """A row in the log of each side, always in one order: two at once must not wait for each other."""
    known: dict[str, object] = {"cover": row.id, "user": row.user.login, "practice": row.practice_id}
    for log_id in sorted({row.practice_id, row.user.practice_id}):
        audit.record(
            log_id, actor=by, action=action, now=now, source=source, detail=known | dict(detail or {})
        )
