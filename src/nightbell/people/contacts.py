"""The ways to a person: added and proved by that person, used only then, and ended when they are not theirs.

A code leaves by the worker: it lies sealed beside its contact until it was sent, so that a kill loses none of it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils.crypto import constant_time_compare, salted_hmac

from nightbell.audit import service as audit
from nightbell.core import other_ways
from nightbell.core.clock import iso, parse_iso
from nightbell.core.config import load
from nightbell.core.dialling import allowed, e164
from nightbell.core.errors import NightbellError
from nightbell.core.outside import push_problem
from nightbell.people.access import Actor, NotFound, write
from nightbell.people.models import Contact, ContactKind, Practice, User
from nightbell.store import vault

CODE_LIFE = timedelta(minutes=15)
CODE_AGAIN = timedelta(minutes=1)
CODE_TRIES = 5
CODES_AN_HOUR, CODES_A_DAY = 5, 20  # to one person, and to one address whoever adds it
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MOST = 20  # contacts a person
SEALED = "contact-code"
TEST = "test "  # before the time of a test, among those of codes
NUMBERS = (ContactKind.SMS, ContactKind.VOICE)
_PUSH_KEY = re.compile(r"[A-Za-z0-9_=+/-]{0,200}\Z")
_URL = re.compile(r"[a-z][a-z0-9+.-]{1,30}://[^\s]{1,560}\Z")


def tell_nobody(_contact: Contact, _now: datetime) -> None:
    """Until a room above tells people that a way has ended."""


# Set by oncall.lost_ways: telling people belongs to a room above this one. In the transaction that ends the way.
on_disowned: Callable[[Contact, datetime], None] = tell_nobody
on_added: Callable[[Contact, datetime], None] = tell_nobody  # in the transaction that adds it


def nobodys(_number: str) -> bool:
    """Until a room above tells which numbers are answered here."""
    return False


# Set by mailbox.ours: whether a line of this installation answers at this number. An alert that rings it tells nobody, and
# leaves a message that alerts.
is_ours: Callable[[str], bool] = nobodys


class BadContact(NightbellError):
    """A contact, or a change of one, that makes no sense."""


def ways(user: User, now: datetime, urgent: bool) -> list[Contact]:
    """How this person may be told now, in their order: what they proved, without what is silent at this hour.

    Silent hours never hold up what is urgent. [] for somebody who is locked out.
    """
    if not user.is_active:
        return []
    proved = list(usable().filter(user_id=user.person_id).order_by("position", "id"))
    return proved if urgent else [one for one in proved if not _silent(one, user, now)]


def usable() -> QuerySet[Contact]:
    """All that may be used at all."""
    return Contact.objects.filter(verified_at__isnull=False, ended_at=None, user__is_active=True)


def proved() -> Exists:
    """Of users: who has proved a way to be told. A covering clinician has those of their own row."""
    return Exists(usable().filter(user_id=Coalesce(OuterRef("home_id"), OuterRef("pk"))))


def _silent(contact: Contact, user: User, now: datetime) -> bool:
    """Whether these are its silent hours, by the clock of its owner's practice. They may span midnight. By a zone that cannot
    be read no hour is silent: nobody must go untold for it."""
    start, end = contact.quiet_from, contact.quiet_until
    if start is None or end is None or start == end:
        return False
    owner = user if contact.user_id == user.id else contact.user
    try:
        local = now.astimezone(ZoneInfo(owner.practice.zone))
    except (KeyError, ValueError):
        return False
    minute = local.hour * 60 + local.minute
    return start <= minute < end if start < end else minute >= start or minute < end


def of(user: User) -> list[Contact]:
    """What a person sees of their own: all but what was ended."""
    return list(Contact.objects.filter(user=user, ended_at=None).order_by("position", "id"))


def add(
    actor: Actor, kind: str, address: str, details: dict[str, str] | None = None, label: str = ""
) -> Contact:
    """A new way to the actor, unproved. Raises BadContact.

    kind: of ContactKind; address: email, +E.164, push endpoint or Apprise URL; details: of push {"p256dh", "auth"}.
    A push endpoint is proved by the first push, which leaves at once: when its service has taken that.
    """
    address, label = _address(kind, address, actor.user.practice.number), label.strip()
    if not all(_PUSH_KEY.match(value) for value in (details or {}).values()):
        raise _bad("its keys are broken", "add it by the button of this page")
    if len(label) > 40 or not label.isprintable():
        raise _bad("its name is too long or broken", "use at most 40 characters")
    with transaction.atomic():
        User.objects.select_for_update().get(pk=actor.user.pk)  # two at once must not both be the last
        mine = Contact.objects.filter(user=actor.user)
        same = mine.filter(kind=kind, address=address).first()
        if same is not None and same.ended_at is None:
            raise _bad("you have it already", "prove it if you have not")
        if mine.filter(ended_at=None).count() >= MOST:
            raise _bad(f"you have {MOST} already", "take one away first")
        last = mine.filter(ended_at=None).aggregate(last=Max("position"))["last"]
        fresh = {
            "details": details or {}, "label": label, "position": 0 if last is None else last + 1,
            "created_at": actor.now, "verified_at": None,
            "tested_at": None, "ended_at": None, "ended_why": "", "code_digest": "",
            "code_sealed": "", "send_at": None, "quiet_from": None, "quiet_until": None,
        }  # fmt: skip
        made, _ = Contact.objects.update_or_create(
            user=actor.user, kind=kind, address=address, defaults=fresh
        )
        if kind == ContactKind.PUSH:
            made.send_at, made.code_times = actor.now, _counted(made, actor.now, test=True)
            made.save(update_fields=["send_at", "code_times"])
        write(actor, "contact:add", detail={"contact": made.id, "kind": kind})
        on_added(made, actor.now)
    return made


def enrol(user: User, now: datetime, verified: bool = False) -> None:
    """The email of a person who was just made. verified: of invented people, whose mail goes nowhere."""
    if user.email:
        Contact.objects.get_or_create(
            user=user, kind=ContactKind.EMAIL, address=user.email,
            defaults={"created_at": now, "verified_at": now if verified else None},
        )  # fmt: skip


def first_code(user: User, now: datetime) -> bool:
    """Have the code leave for the email of whoever has just set up the house, before they have logged in: nobody is told by
    it until they have typed that in. Returns whether one leaves; without it their page sends one."""
    contact = Contact.objects.filter(
        user=user, kind=ContactKind.EMAIL, verified_at=None, ended_at=None
    ).first()
    if contact is None:
        return False
    try:
        send_code(Actor(user, "setup", "", now), contact.id)
    except NightbellError:  # keys that are away hold up no set-up
        return False
    return True


def _address(kind: str, address: str, own: str) -> str:
    """own: the practice's number, which tells its country."""
    address = address.strip()
    if kind in NUMBERS:
        return _telephone(address, own)
    if kind == ContactKind.EMAIL:
        try:
            validate_email(address)
        except ValidationError:
            raise _bad("that is no email address", "correct it") from None
        return address
    if kind not in ContactKind.values:
        raise _bad(f"{kind[:10]!r} is no way to a person", "use one of: " + ", ".join(ContactKind.values))
    if kind == ContactKind.OTHER:
        wrong, mend = (
            other_ways.problem(address),
            "copy the address that the service gives for Apprise, or use another way",
        )
    else:
        wrong, mend = push_problem(address, load().push_local), "add it by the button of this page"
    if wrong:
        raise _bad(wrong, mend)
    if not _URL.match(address) or not address.isascii():
        raise _bad("that is no address of this kind", "copy it whole")
    return address


def _telephone(address: str, own: str) -> str:
    plain = e164(address)
    if not plain:
        raise _bad("that is no telephone number", "write it with its country: +1 503 555 0100")
    if not allowed(plain, own):
        raise _bad("that number is abroad", "use one in the country of your practice's own number")
    if is_ours(plain):
        raise _bad("that number is answered by this system", "use a telephone of your own")
    return plain


def _bad(why: str, mend: str) -> BadContact:
    return BadContact("The contact was not kept", why, mend)


def _mine(actor: Actor, contact_id: str) -> Contact:
    found = Contact.objects.filter(pk=contact_id, user=actor.user, ended_at=None).first()
    if found is None:
        raise NotFound("There is no such contact", "it was taken away", "reload the page")
    return found


def _digest(contact_id: str, code: str) -> str:
    return salted_hmac("nightbell.contact-code", f"{contact_id}:{code}", algorithm="sha256").hexdigest()


def send_code(actor: Actor, contact_id: str) -> None:
    """Have a six-digit code sent to this contact by the worker. Raises BadContact, NotFound, KeysAway."""
    contact = _mine(actor, contact_id)
    if contact.verified_at is not None:
        raise BadContact("No code was sent", "this contact is proved already", "use it")
    if contact.kind == ContactKind.PUSH:
        raise BadContact("No code was sent", "a push carries none", "have its first push sent again")
    until = contact.code_until
    if (
        until is not None
        and timedelta() < until - actor.now <= CODE_LIFE
        and (until - actor.now > CODE_LIFE - CODE_AGAIN)
    ):
        raise BadContact("No new code was sent", "one left less than a minute ago", "wait a minute")
    code = f"{secrets.randbelow(10**6):06d}"
    sealed = vault.seal_secret(code, SEALED)
    with transaction.atomic():
        times = _counted(contact, actor.now)
        won = Contact.objects.filter(pk=contact.pk, code_until=until, ended_at=None).update(
            code_digest=_digest(contact.id, code), code_until=actor.now + CODE_LIFE, code_tries=0,
            code_sealed=sealed, send_at=actor.now, code_times=times,
        )  # fmt: skip
        if won:
            write(actor, "contact:code", detail={"contact": contact.id})


def _counted(contact: Contact, now: datetime, test: bool = False) -> list[str]:
    """When codes and tests went to this contact within a day, with the one of now. Raises BadContact when there were too
    many of its kind.

    Each may ring a stranger, and costs money: taken away and added anew, a contact still has its codes of before.
    """
    User.objects.select_for_update().get(pk=contact.user_id)
    same = Q(user_id=contact.user_id) | Q(address=contact.address)
    rows = list(Contact.objects.select_for_update().filter(same).order_by("pk"))
    mine = _spent([row for row in rows if row.user_id == contact.user_id], now, test)
    there = _spent([row for row in rows if row.address == contact.address], now, test)
    for found in (mine, there):
        if len(found) >= CODES_A_DAY or sum(abs(now - at) < HOUR for at in found) >= CODES_AN_HOUR:
            what = "test" if test else "code"
            raise BadContact(f"No {what} was sent", "too many were sent lately", "try again later")
    own = [row for row in rows if row.pk == contact.pk]
    kept = [iso(at) for at in _spent(own, now, False)] + [TEST + iso(at) for at in _spent(own, now, True)]
    return [*kept, TEST + iso(now) if test else iso(now)]


def _spent(rows: Sequence[Contact], now: datetime, test: bool) -> list[datetime]:
    """What was sent within a day; what lies further ahead was written by a clock that ran ahead."""
    texts = [text for row in rows for text in row.code_times if text.startswith(TEST) == test]
    return [at for at in (parse_iso(text.removeprefix(TEST)) for text in texts) if abs(now - at) < DAY]


def is_fresh(contact: Contact, now: datetime) -> bool:
    """Whether a test was asked for so lately that it is still to leave: nobody waits for one of yesterday."""
    times = [parse_iso(text.removeprefix(TEST)) for text in contact.code_times if text.startswith(TEST)]
    return not times or any(abs(now - at) < CODE_LIFE for at in times)


def tested_in_vain(contact: Contact) -> bool:
    """Whether a test left since it was added, within a day of the last one, and none has arrived yet."""
    times = [text.removeprefix(TEST) for text in contact.code_times if text.startswith(TEST)]
    added = parse_iso(iso(contact.created_at))  # to the same part of a second
    left = contact.send_at is None and any(parse_iso(text) >= added for text in times)
    return left and contact.tested_at is None


def code_of(contact: Contact) -> str:
    """The code that is to be sent. Raises KeysAway or a SealError."""
    return vault.open_secret(contact.code_sealed, SEALED)


def prove(actor: Actor, contact_id: str, code: str) -> None:
    """The owner read the code: from now on this way is used. Raises BadContact, NotFound.

    A try counts before it is compared, so that neither a kill nor two at once give one for nothing.
    """
    contact = _mine(actor, contact_id)
    if contact.verified_at is not None:
        return
    until = contact.code_until
    if until is None or not timedelta() < until - actor.now <= CODE_LIFE:
        raise BadContact("This code is too old", "it is good for 15 minutes", "have another sent")
    open_one = Contact.objects.filter(pk=contact.pk, code_until=until, ended_at=None, verified_at=None)
    if not open_one.filter(code_tries__lt=CODE_TRIES).update(code_tries=F("code_tries") + 1):
        with transaction.atomic():
            write(actor, "contact:prove", outcome="refused", detail={"contact": contact.id, "why": "tries"})
        raise BadContact("Too many wrong codes", "five were tried", "have another sent")
    good = constant_time_compare(_digest(contact.id, code.strip()), contact.code_digest)
    with transaction.atomic():
        if good:
            good = bool(
                open_one.update(
                    verified_at=actor.now, code_digest="", code_until=None, code_sealed="", send_at=None
                )
            )
        write(
            actor, "contact:prove", outcome="ok" if good else "refused", detail={"contact": contact.id}
        )  # fmt: skip
    if not good:
        raise BadContact("That is not the code", "it differs from the one that was sent", "type it again")


def ask_test(actor: Actor, contact_id: str) -> None:
    """Have the worker send a test to this contact. Raises BadContact, NotFound."""
    contact = _mine(actor, contact_id)
    if contact.verified_at is None and contact.kind != ContactKind.PUSH:
        raise BadContact("No test was sent", "this contact is not proved", "prove it first")
    with transaction.atomic():
        times = _counted(contact, actor.now, test=True) if contact.send_at is None else []
        free = Contact.objects.filter(pk=contact.pk, ended_at=None, send_at=None)
        if not times or not free.update(send_at=actor.now, code_times=times):
            raise BadContact("No test was sent", "one is about to leave", "wait for it")
        write(actor, "contact:test", detail={"contact": contact.id})


def remove(actor: Actor, contact_id: str, detail: Mapping[str, object] | None = None) -> Contact:
    """Take a way of one's own away. detail: more for its row in the log. Raises NotFound. oncall.lost_ways.take_away asks
    first where it is the last one of somebody on duty."""
    contact = _mine(actor, contact_id)
    with transaction.atomic():
        _end(contact.id, "removed", actor.now)
        write(actor, "contact:remove", detail={"contact": contact.id} | dict(detail or {}))
    return contact


def order(actor: Actor, ids: Sequence[str]) -> None:
    """Tell me by these in this order. ids: all of one's own. Raises BadContact."""
    with transaction.atomic():
        mine = {one.id for one in Contact.objects.filter(user=actor.user, ended_at=None)}
        if set(ids) != mine or len(ids) != len(mine):
            raise BadContact("The order was not kept", "the list has changed meanwhile", "reload the page")
        for position, contact_id in enumerate(ids):
            Contact.objects.filter(pk=contact_id).update(position=position)
        write(actor, "contact:order", detail={"contacts": list(ids)})


def silence(actor: Actor, contact_id: str, start: int | None, end: int | None) -> None:
    """Silent hours in minutes after local midnight, None and None for none. Raises BadContact, NotFound."""
    contact = _mine(actor, contact_id)
    if (start is None) != (end is None) or any(m is not None and not 0 <= m < 1440 for m in (start, end)):
        raise BadContact("The silent hours were not kept", "a time is missing or wrong", "give both")
    with transaction.atomic():
        Contact.objects.filter(pk=contact.pk).update(quiet_from=start, quiet_until=end)
        write(actor, "contact:silent", detail={"contact": contact.id, "from": start, "until": end})


def disown(contact_id: str, why: str, now: datetime) -> bool:
    """Whoever is at the far end says that it is not this person's, or it is gone for good: never used again.

    why: 'key 9', 'push gone', 'sms stop' or the like. Returns whether it was in use.
    """
    with transaction.atomic():
        contact = Contact.objects.select_related("user").filter(pk=contact_id).first()
        if contact is None or not _end(contact_id, why, now):
            return False
        audit.record(
            contact.user.practice_id, actor="system:worker", action="contact:disowned", now=now,
            detail={"contact": contact_id, "user": contact.user.login, "why": why[:40]},
        )  # fmt: skip
        on_disowned(contact, now)
    return True


def _end(contact_id: str, why: str, now: datetime) -> bool:
    return bool(
        Contact.objects.filter(pk=contact_id, ended_at=None).update(
            ended_at=now, ended_why=why[:40], code_digest="", code_sealed="", send_at=None
        )
    )


def unreachable() -> list[str]:
    """Codes of practices in which nobody has proved any way to be told."""
    somebody = usable().filter(user__practice=OuterRef("pk"))
    return list(Practice.objects.filter(~Exists(somebody)).order_by("code").values_list("code", flat=True))
