"""Opening messages for a reader: only with a warrant, only the parts that the role sees."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from nightbell.core.notice import Word
from nightbell.core.phi import Phi, Warrant
from nightbell.mailbox import rules
from nightbell.mailbox import secrets as sealed
from nightbell.mailbox.marks import UNSURE
from nightbell.mailbox.models import Message, Note, NoteKind
from nightbell.mailbox.numbers import spoken_number
from nightbell.mailbox.values import MessageView, NoteView, NumberView, PartView, Person, Reason, Row
from nightbell.people.access import Actor
from nightbell.people.models import User
from nightbell.people.roles import Part
from nightbell.sealing.errors import SealError
from nightbell.sealing.fields import Place
from nightbell.store import vault

T = TypeVar("T")
FIRST_WORDS = 18
_DAMAGED = Reason("damaged", "cannot be opened whole: tell whoever looks after the system", "", 0, 0)
_THIRD = Reason("third", "third call in 20 minutes", "", 0, 0)
_WORSE = Reason("worse", "got worse", "", 0, 0)
_PUBLIC_REASONS = frozenset(
    {"key", "menu", "third", "worse", "missed", "interrupted", "damaged", "unsure", "unfetched", "flagged"}
)


def person(user: User) -> Person:
    """A colleague for the page. The tone is fixed by the id, so that it is the same everywhere."""
    return Person(user.id, user.name, user.initials, sum(user.id.encode()) % 4 + 1)


def kinds_of_reasons(message: Message) -> set[str]:
    """For a decision, not for anybody's eyes: the kinds alone. Raises KeysAway or a SealError."""
    if message.reasons_sealed is None:
        return set()
    where = sealed.place("reasons", message.id, message.practice_id)
    opened = sealed.open_reasons(vault.message_key(message.id), where, message.reasons_sealed)
    return {reason.kind for reason in opened.open(Warrant("internal"))[0]}


def is_from(message: Message, number: str) -> bool:
    """For a decision, not for anybody's eyes: whether this number called. Raises KeysAway or a SealError."""
    if message.caller_sealed is None:
        return False
    where = sealed.place("caller", message.id, message.practice_id)
    caller = sealed.open_text(vault.message_key(message.id), where, message.caller_sealed)
    wanted = rules.digits(number)
    return bool(wanted) and rules.digits(caller.open(Warrant("internal"))) == wanted


class Opener:
    """One message, its key and the reader's rights."""

    def __init__(
        self, actor: Actor, warrant: Warrant, message: Message, worse_at: datetime | None = None
    ) -> None:
        """worse_at: when the last addition came."""
        self.actor, self.warrant, self.message, self.worse_at = actor, warrant, message, worse_at
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

    def confirmed(self) -> str | None:
        """The number that the caller said yes to; None where there is none or the role does not see it."""
        return self._open("callback", sealed.open_text) if self.actor.sees(Part.NUMBER) else None

    def parts(self) -> tuple[PartView, ...] | None:
        if not self.actor.sees(Part.AUDIO):
            return None
        return tuple(
            PartView(one["name"], one["start_s"], one["end_s"], one["earlier"]) for one in self.message.parts
        )

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
        known, marked, number = found or ((), {}, None)
        # Behind the others: the marked words name their reason by its place.
        known = (*known, *self._from_other_calls())
        if self.actor.sees(Part.TRANSCRIPT):
            return known, marked, number
        return tuple(r for r in known if r.kind in _PUBLIC_REASONS and not r.quote), {}, None

    def _from_other_calls(self) -> list[Reason]:
        """What only the row knows: it was decided when another call came, perhaps while the words were written."""
        tags = self.message.tags
        third = [_THIRD] if "third" in tags else []
        return [*third, *([_WORSE] if "worse" in tags or self.worse_at else [])]

    def numbers(self) -> tuple[NumberView, ...]:
        """Every number that the caller gave or called from, the one to be called first. Those in the caller's words
        only for those who see the words."""
        confirmed, caller, words = self.confirmed(), self.caller(), self.words()
        spoken = spoken_number(words, self.message.language) if words else None
        known = (("keyed", confirmed), ("caller_id", caller), ("spoken", spoken.number if spoken else None))
        found: dict[str, NumberView] = {}
        for source, number in known:
            if number and (plain := rules.digits(number)) and self.actor.sees(Part.NUMBER):
                same = source == "keyed" and plain == rules.digits(caller or "")
                found.setdefault(plain, NumberView("caller_id" if same else source, number))
        return tuple(found.values())

    def notes(self, kind: NoteKind = NoteKind.NOTE) -> tuple[NoteView, ...] | None:
        if not self.actor.sees(Part.NOTES) or self.key is None:
            return None
        opened = []
        kept = Note.objects.filter(message=self.message, kind=kind)
        for note in kept.select_related("author").order_by("at", "id"):
            where = sealed.place("text", note.id, self.message.practice_id, sealed.NOTES)
            try:
                text = sealed.open_text(self.key, where, note.text_sealed).open(self.warrant)
            except SealError:
                text = "This note is damaged and cannot be read. A backup may still have it."
            opened.append(NoteView(person(note.author), note.at, text, note.id))
        return tuple(opened)

    def row(self, heard_by_reader: bool) -> Row:
        """The line of the inbox."""
        message, words = self.message, self.words()
        first = None if words is None else " ".join(w.text.strip() for w in words[:FIRST_WORDS])
        caller, confirmed = self.caller(), self.confirmed()
        unsure = UNSURE in message.tags
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
            has_audio=message.wav_bytes > 0,
            words_status=message.words,
            callback_number=confirmed or caller,
            callback_uncertain=caller is not None and (unsure or not (confirmed or caller)),
            first_words=first,
            reasons=self.reasons()[0],
            owner=person(message.owner) if message.owner else None,
            owned_at=message.owned_at,
            closed_at=message.closed_at,
            outcome=message.outcome,
            unheard=not heard_by_reader,
            number_from="caller_id"
            if not confirmed
            else "unsure"
            if unsure
            else "seen"
            if confirmed == caller
            else "keyed",
            other_number=(caller or "") if unsure and caller != confirmed else "",
            reached=message.reached,
            tags=tuple(message.tags),
            worse_at=self.worse_at,
            promised_by=message.promised_by,
            joins=message.joins_id or "",
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
            parts=self.parts(),
            signed=self.notes(NoteKind.PHONE),
            numbers=self.numbers(),
        )
