"""Getting rid of a message: its key dies, so every copy of its audio and PHI columns dies with it."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from nightbell.audit import service as audit
from nightbell.compliance.models import DisposalCertificate
from nightbell.core import faults
from nightbell.core.clock import iso, parse_iso
from nightbell.mailbox import talks
from nightbell.mailbox.models import Message, Note, SealingEpoch, State, Talk, Urgency
from nightbell.store import vault

COMPACT_EVERY = timedelta(days=1)


def dispose(message: Message, actor: str, reason: str, now: datetime) -> None:
    """Destroy key, sound and PHI columns, and those of its additions. Safe to repeat after a crash; keys go first."""
    later = list(message.additions.exclude(state=State.DISPOSED).select_related("practice").order_by("id"))
    for one in (message, *later):
        vault.note_disposed(one.id)  # all of them before the first goes: `finish_begun` takes the rest along
    for one in (message, *later):
        _destroy(one, actor, reason, now)


def _destroy(message: Message, actor: str, reason: str, now: datetime) -> None:
    # What is no patient's must stay known as such: calls are counted without them.
    tags = [tag for tag in message.tags if tag in ("test", "studio")]
    vault.keyring().destroy(message.id)
    faults.point("disposal.key")
    vault.blobs().delete(message.practice_id, message.id)
    talks.destroy(message)
    faults.point("disposal.blob")
    with transaction.atomic():
        Note.objects.filter(message=message).delete()
        Talk.objects.filter(message=message).update(audio_bytes=0, wav_bytes=0)
        Message.objects.filter(pk=message.pk).update(
            state=State.DISPOSED, caller_sealed=None, callback_sealed=None, peaks_sealed=None,
            transcript_sealed=None, reasons_sealed=None, parts=[], tags=tags, audio_bytes=0, wav_bytes=0, needs_alert=False, disposed_at=now,
        )  # fmt: skip
        _free(message)
        DisposalCertificate.objects.get_or_create(
            message=message.id,
            defaults={"practice": message.practice, "actor": actor, "reason": reason, "disposed_at": now},
        )
        audit.record(
            message.practice_id, actor=actor, action="message:dispose", now=now, message=message.id,
            detail={"reason": reason},
        )  # fmt: skip


def _free(first: Message) -> None:
    """Additions that came in while their first message went stand alone: nobody has heard them. In a transaction."""
    later = Message.objects.filter(joins=first).exclude(state=State.DISPOSED)
    ids = set(later.values_list("pk", flat=True)) - vault.disposed_ids()
    freed = Message.objects.filter(pk__in=ids)
    freed.filter(urgency=Urgency.URGENT, state=State.NEW).update(needs_alert=True)
    freed.update(joins=None)


def finish_begun(now: datetime) -> int:
    """Go through with disposals whose process died half-way: the ledger names what must be gone."""
    alive = Message.objects.exclude(state=State.DISPOSED)
    begun = vault.disposed_ids().intersection(alive.values_list("pk", flat=True))
    for message_id in sorted(begun):
        # An addition may have gone with its first message a moment ago.
        for message in alive.select_related("practice").filter(pk=message_id):
            dispose(message, "system:worker", "resumed", now)
    return len(begun)


def compact(now: datetime) -> None:
    """Re-wrap what lives under a new period key and destroy the old one; old keyring backups die with it."""
    vault.keyring().compact(iso(now))
    faults.point("compaction.keyring")
    with transaction.atomic():
        DisposalCertificate.objects.filter(compacted_at=None, disposed_at__lte=now).update(compacted_at=now)
        audit.record(audit.INSTALLATION, actor="system:worker", action="keyring:compact", now=now)


def compact_if_due(now: datetime) -> bool:
    """The daily round. A home's first day has none: keys may lie beside it that a restore still needs."""
    last = vault.keyring().last_compaction()
    oldest = SealingEpoch.objects.order_by("created_at").first()
    since = parse_iso(last) if last is not None else oldest.created_at if oldest else now
    if now - since < COMPACT_EVERY:
        return False
    compact(now)
    return True
