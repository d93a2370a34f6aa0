"""Sending what is no alert: planned notices, the codes that prove a contact, and its test."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from nightbell.audit import service as audit
from nightbell.core import faults
from nightbell.core.ids import new_ulid
from nightbell.core.log import Log
from nightbell.core.notice import OF_A_MESSAGE, ChannelError, NoticeKind, Notification, Receipt
from nightbell.oncall import policies, questions, receipts
from nightbell.oncall.models import Notice, NoticeState
from nightbell.oncall.sending import AHEAD, LONGEST_PAUSE, MAX_TRIES, NO_CHANNEL, SEND_LEASE, Sender, deliver
from nightbell.oncall.start import ACTOR
from nightbell.people import contacts
from nightbell.people.models import Contact, ContactKind, User

NOTICE_LEASE = timedelta(minutes=4)  # several ways, one after another
RUNG_AT_ONCE = 2  # telephones of one person in one round: each holds up everybody's notices
SILENT_AGAIN = timedelta(minutes=10)
TOO_OLD = timedelta(days=2)  # a notice that nobody could be given for so long is given up
NO_WAY = "no proved way to this person"
NOT_NEEDED = "not needed: it was answered or taken back"
GIVEN_UP = "given up: no sender outlived it"
TWICE = "; perhaps twice"


def send_notices(sender: Sender, now: datetime, log: Log, limit: int = 10) -> int:
    """Give planned notices to their person by the first of their ways that takes them. Returns how many left."""
    pending = Notice.objects.filter(
        Q(retry_at__lte=now) | Q(retry_at__gt=now + AHEAD), state=NoticeState.PENDING
    ).select_related("user__practice", "practice")
    sent = 0
    for notice in pending.order_by("retry_at", "id")[:limit]:
        held = Notice.objects.filter(pk=notice.pk, state=NoticeState.PENDING, retry_at=notice.retry_at)
        twice = notice.tries > 0 and not notice.answer  # whoever had it was killed
        if held.update(retry_at=now + NOTICE_LEASE, tries=notice.tries + 1, answer=""):
            faults.point("notice.leased")
            if notice.tries >= MAX_TRIES:
                _not_given(notice, GIVEN_UP, True, now)
            else:
                sent += _give(notice, sender, now, log, twice)
    return sent


def _give(notice: Notice, sender: Sender, now: datetime, log: Log, twice: bool) -> bool:
    if not questions.is_open(notice.key, now):
        Notice.objects.filter(pk=notice.pk, state=NoticeState.PENDING).update(
            state=NoticeState.FAILED, answer=NOT_NEEDED
        )
        return False
    kind, presses = NoticeKind(notice.kind), questions.presses(notice, now)
    ways = _ways(notice, now, presses)
    if not ways:
        waits = not presses and _ways(notice, now, True)
        if waits and abs(now - notice.made_at) < TOO_OLD:
            Notice.objects.filter(pk=notice.pk, state=NoticeState.PENDING).update(
                retry_at=now + SILENT_AGAIN, tries=notice.tries, answer="silent hours"
            )
            return False
        _not_given(notice, NO_WAY, True, now)
        return False
    told = Notification(
        kind, notice.practice.code, notice.token if kind in OF_A_MESSAGE else "", language_of(notice.user)
    )
    problems = []
    chosen = _in_this_round(ways, notice.tries)
    for way in chosen:
        channel = sender.channels.get(way.kind)
        if channel is None:
            problems.append(ChannelError(NO_CHANNEL, permanent=True))
            continue
        # Before it leaves: a receipt may come before its answer.
        Notice.objects.filter(pk=notice.pk, state=NoticeState.PENDING).update(contact=way, reference="")
        receipt, problem = deliver(channel, told, sender.url, way.address, notice.id, log)
        if receipt is not None:
            faults.point("notice.sent")
            _given(notice, way, receipt, now, twice)
            return True
        problems.append(problem or ChannelError("the channel broke"))
        if problems[-1].gone:
            contacts.disown(way.id, f"{way.kind} gone", now)
    never = len(chosen) == len(ways) and all(problem.permanent for problem in problems)
    final = notice.tries + 1 >= MAX_TRIES or never
    _not_given(notice, "; ".join(problem.answer for problem in problems), final, now)
    return False


def _ways(notice: Notice, now: datetime, urgent: bool) -> list[Contact]:
    """In their order, without those by which it did not arrive."""
    found = contacts.ways(notice.user, now, urgent)
    return [one for one in found if notice.by in ("", one.kind) and one.id not in notice.in_vain]


def _in_this_round(ways: list[Contact], tries: int) -> list[Contact]:
    """All but those telephones whose turn comes in another round."""
    rung = [one for one in ways if one.kind == ContactKind.VOICE]
    turn = RUNG_AT_ONCE * tries % len(rung) if rung else 0
    mine = (rung + rung)[turn : turn + RUNG_AT_ONCE]
    return [one for one in ways if one.kind != ContactKind.VOICE or one in mine]


def language_of(user: User) -> str:
    return user.language if user.language in ("en", "es") else "en"


def _given(notice: Notice, way: Contact, receipt: Receipt, now: datetime, twice: bool) -> None:
    answer = receipt.answer[:100] + (TWICE if twice else "")
    with transaction.atomic():
        row = Notice.objects.select_for_update().get(pk=notice.pk)
        Notice.objects.filter(pk=notice.pk).update(
            state=NoticeState.SENT, sent_at=now, channel=way.kind, sent=receipt.sent, answer=answer, contact=way,
            reference=receipt.reference[:80],
        )  # fmt: skip
        if way.id in row.in_vain:  # the provider was quicker
            receipts.undelivered_notice(row, row.in_vain[way.id], now)
        _record(notice, "notice:sent", "ok", now, {"channel": way.kind} | ({"twice": True} if twice else {}))


def _not_given(notice: Notice, answer: str, final: bool, now: datetime) -> None:
    change: dict[str, object] = {"answer": answer[:120] or "failed"}
    if final:
        change["state"] = NoticeState.FAILED
    else:
        change["retry_at"] = policies.retry_at(notice.tries + 1, now)
    with transaction.atomic():
        won = Notice.objects.filter(pk=notice.pk, state=NoticeState.PENDING).update(**change)
        if won and final:
            _record(notice, "notice:failed", "failed", now, {})


def _record(notice: Notice, action: str, outcome: str, now: datetime, more: dict[str, object]) -> None:
    audit.record(
        notice.practice_id, actor=ACTOR, action=action, now=now, outcome=outcome,
        detail={"notice": notice.id, "kind": notice.kind, "to": notice.user.login} | more,
    )  # fmt: skip


def send_codes(sender: Sender, now: datetime, log: Log, limit: int = 10) -> int:
    """Send the codes that prove contacts, and tests to proved ones. Returns how many left."""
    asked = Contact.objects.filter(
        Q(send_at__lte=now) | Q(send_at__gt=now + AHEAD), ended_at=None, user__is_active=True
    ).select_related("user__practice")
    sent = 0
    for contact in asked.order_by("send_at", "id")[:limit]:
        held = Contact.objects.filter(pk=contact.pk, send_at=contact.send_at, ended_at=None)
        again = now + _lease(contact, now)
        if held.update(send_at=again):
            faults.point("code.leased")
            contact.send_at = again
            sent += _how(contact)(contact, sender, now, log)
    return sent


def _how(contact: Contact) -> Callable[[Contact, Sender, datetime, Log], bool]:
    if contact.verified_at is not None:
        return _send_test
    return _send_first if contact.kind == ContactKind.PUSH else _send_code


def _lease(contact: Contact, now: datetime) -> timedelta:
    """Until it is tried again when no answer was noted. For a code twice as long each time: it is good for minutes, in which
    few may leave though nobody can note that they did."""
    until = contact.code_until
    if contact.verified_at is not None or until is None:
        return SEND_LEASE
    return min(max(SEND_LEASE, now - (until - contacts.CODE_LIFE)), LONGEST_PAUSE)


def _send_code(contact: Contact, sender: Sender, now: datetime, log: Log) -> bool:
    mine = Contact.objects.filter(pk=contact.pk, send_at=contact.send_at, code_until=contact.code_until)
    until = contact.code_until
    if until is None or not now < until <= now + contacts.CODE_LIFE:
        mine.update(send_at=None, code_sealed="")  # it would come too late to prove anything
        return False
    receipt, problem = _deliver(contact, contacts.code_of(contact), sender, now, log)
    if receipt is None and problem.gone:
        contacts.disown(contact.id, f"{contact.kind} gone", now)
    if receipt is None and not problem.permanent:
        if problem.not_yet:
            mine.update(send_at=now + SEND_LEASE)
        return False  # the lease runs out, and it is tried again as long as it is good
    faults.point("code.sent")
    with transaction.atomic():
        if not mine.update(send_at=None, code_sealed=""):
            return False
        _left(contact, NoticeKind.VERIFY, receipt, now)
    return receipt is not None


def _send_first(contact: Contact, sender: Sender, now: datetime, log: Log) -> bool:
    """The first push proves the browser when its service has taken it. Until then it is tried again while it is fresh: one
    that comes twice is no harm, and a kill must not leave its owner waiting."""
    mine = Contact.objects.filter(pk=contact.pk, ended_at=None, verified_at=None, send_at=contact.send_at)
    if not contacts.is_fresh(contact, now):
        mine.update(send_at=None)
        return False
    receipt, problem = _deliver(contact, "", sender, now, log)
    if receipt is None and problem.gone:
        contacts.disown(contact.id, f"{contact.kind} gone", now)
    if receipt is None and not problem.permanent:
        return False  # the lease runs out
    faults.point("code.sent")
    proved = {"verified_at": now, "tested_at": now} if receipt is not None else {}
    with transaction.atomic():
        if not mine.update(send_at=None, **proved):
            return False
        _left(contact, NoticeKind.TEST, receipt, now)
    return receipt is not None


def _send_test(contact: Contact, sender: Sender, now: datetime, log: Log) -> bool:
    """At most once: whoever waits for one that did not come asks for another, and nobody is rung again and again."""
    mine = Contact.objects.filter(pk=contact.pk, ended_at=None)
    if not mine.filter(send_at=contact.send_at).update(send_at=None) or not contacts.is_fresh(contact, now):
        return False
    receipt, problem = _deliver(contact, "", sender, now, log)
    if receipt is None and problem.gone:
        contacts.disown(contact.id, f"{contact.kind} gone", now)
    if receipt is None and problem.not_yet:
        mine.filter(send_at=None).update(send_at=now + SEND_LEASE)
        return False
    faults.point("code.sent")
    with transaction.atomic():
        if receipt is not None:
            mine.update(tested_at=now)
        _left(contact, NoticeKind.TEST, receipt, now)
    return receipt is not None


def _deliver(
    contact: Contact, code: str, sender: Sender, now: datetime, log: Log
) -> tuple[Receipt | None, ChannelError]:
    """The error means nothing beside a receipt."""
    kind = NoticeKind.VERIFY if code else NoticeKind.TEST
    told = Notification(kind, contact.user.practice.code, "", language_of(contact.user), code)
    channel = sender.channels.get(contact.kind)
    receipt, problem = None, ChannelError(NO_CHANNEL, permanent=True)
    if channel is not None:
        receipt, failed = deliver(channel, told, sender.url, contact.address, new_ulid(), log)
        problem = failed or problem
    return receipt, problem


def _left(contact: Contact, kind: NoticeKind, receipt: Receipt | None, now: datetime) -> None:
    audit.record(
        contact.user.practice_id, actor=ACTOR, action="contact:sent", now=now,
        outcome="ok" if receipt is not None else "failed",
        detail={"contact": contact.id, "kind": kind.value, "user": contact.user.login},
    )  # fmt: skip
