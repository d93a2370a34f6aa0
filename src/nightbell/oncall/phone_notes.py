"""Drafting, signing and giving out phone notes. Whatever is given out is in the audit log first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import transaction

from nightbell.core.phi import Warrant
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Message, NoteKind
from nightbell.mailbox.opening import Opener
from nightbell.mailbox.values import MessageView
from nightbell.oncall import outcomes, phone_note, records
from nightbell.oncall.phone_note import PhoneNote, Tried
from nightbell.people.access import Actor, NotFound, demand, reveal
from nightbell.people.models import Practice
from nightbell.people.roles import Act, Role

ROLES = {Role.CLINICIAN: "clinician", Role.FRONT_DESK: "front desk", Role.MANAGER: "manager"}


@dataclass(frozen=True, slots=True)
class Given:
    """A signed note with the message as it is now, for who may have both. PHI. id: the note's, which is its
    identifier outside."""

    id: str
    note: PhoneNote
    view: MessageView


def draft(view: MessageView, practice: Practice) -> PhoneNote:
    """What is known before anybody typed: from a view that was audited."""
    row = view.row
    heard = view.heard_by[0] if view.heard_by else None
    tries = tuple(
        Tried(
            one.at,
            one.who,
            one.outcome,
            round(one.talked.total_seconds()) if one.talked is not None else None,
        )
        for one in outcomes.history(row.id)
    )
    return PhoneNote(
        message=row.id, practice=practice.name, practice_number=practice.number, zone=practice.zone,
        urgency=row.urgency, language=row.language, received_at=row.received_at, number=row.callback_number or "",
        heard_by=heard[0].name if heard else "", heard_at=heard[1] if heard else None,
        taken_by=row.owner.name if row.owner else "", taken_at=row.owned_at, tries=tries,
        outcome=row.outcome or outcomes.spoken(row.id),
    )  # fmt: skip


def newest(view: MessageView) -> PhoneNote | None:
    """The note that counts: the one signed last. Earlier ones stay as they were signed."""
    readable = [note for one in view.signed or () if (note := phone_note.read(one.text))]
    return readable[-1] if readable else None


def sign(actor: Actor, message_id: str, given: Mapping[str, str]) -> str:
    """Freeze what is known with what was typed, sealed under the message's key. Returns the note's id.

    Raises BadText, NotFound, Forbidden, KeysAway. The copy for the practice's own record system is due in the same
    transaction, where there is one (see oncall.records).
    """
    demand(actor, Act.NOTE)
    written = phone_note.check(given)
    view = mailbox.message(actor, message_id)
    role = ROLES.get(actor.role, actor.role.value)
    note = phone_note.sign(draft(view, actor.user.practice), written, actor.user.name, role, actor.now)
    with transaction.atomic():
        kept = mailbox.keep_note(actor, view.row.id, phone_note.to_text(note), NoteKind.PHONE)
        records.enqueue(actor.user.practice, kept, actor.now)
    return kept


def give_out(actor: Actor, message_id: str, form: str) -> Given:
    """The newest signed note, to be taken out of here. form: 'text', 'pdf' or 'fhir', for the log.

    Raises NotFound when none is signed, Forbidden.
    """
    found = mailbox.find(actor, message_id, Act.DOWNLOAD)

    def opened(warrant: Warrant) -> Given | None:
        return read_one(Opener(actor, warrant, found))

    given = reveal(actor, Act.DOWNLOAD, opened, message=found.id, detail={"form": form})
    if given is None:
        raise NotFound(
            "There is no signed phone note", "nobody signed one yet", "sign it on the message's page"
        )
    return given


def read_one(opener: Opener, note_id: str = "") -> Given | None:
    """The note of that id, or the newest. For who holds a warrant."""
    view = opener.view(heard_by_reader=True)
    for one in reversed(view.signed or ()):
        if note_id in ("", one.id) and (note := phone_note.read(one.text)):
            return Given(one.id, note, view)
    return None


def message_of(note_id: str) -> Message | None:
    """The message that a note is about."""
    found = Message.objects.select_related("practice", "mailbox", "owner").filter(notes__pk=note_id)
    return found.first()
