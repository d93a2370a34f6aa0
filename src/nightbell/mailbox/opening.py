"""Opening messages for a reader: only with a warrant, only the parts that the role sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nightbell.core.notice import Word
from nightbell.core.phi import Phi, Warrant
from nightbell.mailbox import secrets as sealed
from nightbell.mailbox.models import Message, Note
from nightbell.mailbox.values import MessageView, NoteView, Person, Reason, Row
from nightbell.people.access import Actor
from nightbell.people.models import User
from nightbell.people.roles import Part
from nightbell.sealing.errors import SealError
from nightbell.sealing.fields import Place
from nightbell.store import vault

T = TypeVar("T")
FIRST_WORDS = 18
_DAMAGED = Reason("damaged", "cannot be opened whole: tell whoever looks after the system", "", 0, 0)
_PUBLIC_REASONS = frozenset({"key", "missed", "interrupted", "unsure"})


def person(user: User) -> Person:
    """A colleague for the page. The tone is fixed by the id, so that it is the same everywhere."""
    return Person(user.id, user.name, user.initials, sum(user.id.encode()) % 4 + 1)


class Opener:
    """One message, its key and the reader's rights."""

    def __init__(self, actor: Actor, warrant: Warrant, message: Message) -> None:
        self.actor, self.warrant, self.message = actor, warrant, message
        try:
            self.key: bytes | None = vault.message_key(message.id)
        except SealError:
            self.key = None  # destroyed, lost or damaged: the row is shown, nothing of it can be
        self.damaged = self.key is None

    def _open(self, column: str, reader: Callable[[bytes, Place, bytes | memoryview], Phi[T]]) -> T | None:
        value = getattr(self.message, f"{column}_sealed")
        if value is None or self.key is None:
            return None
        where = sealed.place(column, self.message.id, self.message.practice_id)
        try:
            return reader(self.key, where, value).open(self.warrant)
        except SealError:
            self.damaged = True  # one altered column must not close the whole inbox
            return None

    def caller(self) -> str | None:
        return self._open("caller", sealed.open_text) if self.actor.sees(Part.NUMBER) else None

    def words(self) -> tuple[Word, ...] | None:
        return self._open("transcript", sealed.open_words) if self.actor.sees(Part.TRANSCRIPT) else None

    def peaks(self) -> tuple[int, ...] | None:
        peaks = self._open("peaks", sealed.open_bytes) if self.actor.sees(Part.AUDIO) else None
        return tuple(peaks) if peaks is not None else None

    def reasons(self) -> tuple[tuple[Reason, ...], dict[int, int], tuple[int, int] | None]:
        """Reasons in the patient's own words only for those who see the transcript."""
        found = self._open("reasons", sealed.open_reasons)
        if self.damaged:
            return (_DAMAGED,), {}, None
        if found is None:
            return (), {}, None
        if self.actor.sees(Part.TRANSCRIPT):
            return found
        return tuple(r for r in found[0] if r.kind in _PUBLIC_REASONS and not r.quote), {}, None

    def notes(self) -> tuple[NoteView, ...] | None:
        if not self.actor.sees(Part.NOTES) or self.key is None:
            return None
        opened = []
        for note in Note.objects.filter(message=self.message).select_related("author").order_by("at", "id"):
            where = sealed.place("text", note.id, self.message.practice_id, sealed.NOTES)
            try:
                text = sealed.open_text(self.key, where, note.text_sealed).open(self.warrant)
            except SealError:
                text = "This note is damaged and cannot be read. A backup may still have it."
            opened.append(NoteView(person(note.author), note.at, text))
        return tuple(opened)

    def row(self, heard_by_reader: bool) -> Row:
        """The line of the inbox."""
        message, words = self.message, self.words()
        first = None if words is None else " ".join(w.text.strip() for w in words[:FIRST_WORDS])
        caller = self.caller()
        return Row(
            id=message.id,
            kind=message.kind,
            state=message.state,
            urgency=message.urgency,
            mailbox_id=message.mailbox_id or "",
            mailbox=message.mailbox.name if message.mailbox else "",
            received_at=message.received_at,
            duration_s=message.duration_ms / 1000,
            language=message.language,
            end_reason=message.end_reason,
            pressed_urgent=message.pressed_urgent,
            has_audio=message.audio_bytes > 0,
            words_status=message.words,
            callback_number=caller,
            callback_uncertain=caller is not None and not caller,
            first_words=first,
            reasons=self.reasons()[0],
            owner=person(message.owner) if message.owner else None,
            owned_at=message.owned_at,
            closed_at=message.closed_at,
            outcome=message.outcome,
            unheard=not heard_by_reader,
        )

    def view(self, heard_by_reader: bool) -> MessageView:
        """The whole message."""
        _, marked, number = self.reasons()
        heard = self.message.hearings.select_related("user").order_by("first_at")
        return MessageView(
            row=self.row(heard_by_reader),
            words=self.words(),
            word_reasons=marked,
            number_span=number,
            peaks=self.peaks(),
            notes=self.notes(),
            heard_by=tuple((person(h.user), h.first_at, h.heard_ms / 1000) for h in heard),
        )
