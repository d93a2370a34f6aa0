"""What a provider tells afterwards of a notification that it took: it arrived, or it never will.

Receipts come in any order, twice, late, or before our own sending has written that it sent. Each changes one row by
compare-and-set; the first 'undelivered' makes the attempt failed and, when nothing else of its step is out, the
alert's next step due at once. A receipt never ends an alert: arrived is not owned. A notice that did not arrive goes the
next way.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from nightbell.audit import service as audit
from nightbell.oncall.attempts import go_on
from nightbell.oncall.models import Attempt, AttemptState, Notice, NoticeState
from nightbell.people import contacts
from nightbell.people.models import ContactKind

ACTOR = "system:receipts"
DELIVERED, UNDELIVERED = "delivered", "undelivered"
NOT_ARRIVED = "the provider says that it did not arrive"


def note(
    reference: str, arrived: bool | None, now: datetime, attempt: str = "", stopped: bool = False
) -> bool:
    """A provider's word about one attempt or notice. Returns whether it changed anything.

    reference: the provider's own id; arrived: True, False, or None for one that is on its way; attempt: ours (or the
    notice's), when the provider was told it; stopped: the person asked not to be written to any more, so the contact ends.
    """
    found = _find(reference, attempt)
    if found is None:
        return _of_notice(reference, attempt, arrived, stopped, now)
    with transaction.atomic():
        changed = _keep_reference(found, reference)
        if arrived is not None:
            changed = (_delivered(found, now) if arrived else _undelivered(found, now)) or changed
        if stopped and found.contact_id:
            changed = contacts.disown(found.contact_id, "sms stop", now) or changed
    return changed


def _find(reference: str, attempt: str) -> Attempt | None:
    rows = Attempt.objects.select_related("alert", "user")
    if attempt:
        # One of another's name, though signed, tells of something else: a reference that we have must fit.
        found = rows.filter(pk=attempt).first()
        return found if found is not None and found.reference in ("", reference) else None
    return rows.filter(reference=reference).first() if reference else None


def _of_notice(reference: str, notice: str, arrived: bool | None, stopped: bool, now: datetime) -> bool:
    """Only texts have receipts. One that is quicker than our own writing is heeded by whoever writes that it was sent."""
    with transaction.atomic():
        rows = Notice.objects.select_for_update(of=("self",)).filter(contact__kind=ContactKind.SMS)
        row = (rows.filter(pk=notice) if notice else rows.filter(reference=reference)).first()
        if not reference or row is None or row.reference not in ("", reference):
            return False
        if reference in row.in_vain.values():
            return False
        changed = stopped and contacts.disown(str(row.contact_id), "sms stop", now)
        if arrived is False:
            undelivered_notice(row, reference, now)
            audit.record(
                row.practice_id, actor=ACTOR, action="notice:undelivered", now=now, outcome="failed",
                detail={"notice": row.id, "kind": row.kind, "to": row.user.login},
            )  # fmt: skip
        return changed or arrived is False


def undelivered_notice(row: Notice, reference: str, now: datetime) -> None:
    """By this way it does not arrive: if it counts as sent it is due again, by the next. The caller holds the row."""
    in_vain = row.in_vain | {str(row.contact_id): reference}
    Notice.objects.filter(pk=row.pk).update(in_vain=in_vain)
    Notice.objects.filter(pk=row.pk, state=NoticeState.SENT).update(
        state=NoticeState.PENDING, retry_at=now, answer=NOT_ARRIVED
    )


def _keep_reference(attempt: Attempt, reference: str) -> bool:
    """The provider has it, whatever became of the answer to our request: the sender does not send it again."""
    if attempt.reference or not reference:
        return False
    return bool(Attempt.objects.filter(pk=attempt.pk, reference="").update(reference=reference[:80]))


def _delivered(attempt: Attempt, now: datetime) -> bool:
    """It stands also after an 'undelivered': the phone itself has confirmed it."""
    rows = Attempt.objects.filter(pk=attempt.pk).exclude(receipt=DELIVERED)
    if not rows.update(receipt=DELIVERED, receipt_at=now):
        return False
    # It had been taken for failed; the ladder has gone on, and that does no harm.
    Attempt.objects.filter(pk=attempt.pk, state=AttemptState.FAILED, sent__isnull=False).update(
        state=AttemptState.SENT
    )
    _audit(attempt, DELIVERED, "ok", now)
    return True


def _undelivered(attempt: Attempt, now: datetime) -> bool:
    if not Attempt.objects.filter(pk=attempt.pk, receipt="").update(receipt=UNDELIVERED, receipt_at=now):
        return False
    _fail(attempt, now)
    _audit(attempt, UNDELIVERED, "failed", now)
    return True


def settle_all(attempts: Sequence[str], now: datetime) -> None:
    """For the sender, in the transaction that marks these attempts (ids) as sent: a receipt may have been quicker.

    Whoever of the two writes last sees the other's word, so that the next step is due in any order.
    """
    for attempt in Attempt.objects.select_related("alert").filter(pk__in=attempts, receipt=UNDELIVERED):
        _fail(attempt, now)


def _fail(attempt: Attempt, now: datetime) -> bool:
    """From sent to failed, once; then on with the alert if this was the last hope of its step."""
    failed = Attempt.objects.filter(pk=attempt.pk, state=AttemptState.SENT).update(
        state=AttemptState.FAILED, answer=NOT_ARRIVED
    )
    if failed:
        go_on(attempt, now)
    return bool(failed)


def _audit(attempt: Attempt, receipt: str, outcome: str, now: datetime) -> None:
    audit.record(
        attempt.alert.practice_id, actor=ACTOR, action=f"notification:{receipt}", now=now, outcome=outcome,
        message=attempt.alert.message_id,
        detail={"attempt": attempt.id, "step": attempt.step, "to": attempt.user.login if attempt.user else "fallback"},
    )  # fmt: skip
