"""The row of a message: what is known of it at intake, before any words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from nightbell.core.capture import Capture, EndReason
from nightbell.core.clock import parse_iso
from nightbell.core.errors import NightbellError
from nightbell.core.ids import is_ulid
from nightbell.mailbox import rules, undecoded
from nightbell.mailbox import secrets as sealed
from nightbell.mailbox.marks import SEEN, SKIPPED, Said
from nightbell.mailbox.models import Kind, Mailbox, Message, Number, State, Urgency, Words
from nightbell.mailbox.sounding import Laid, Sound
from nightbell.mailbox.values import Reason
from nightbell.people.models import Practice
from nightbell.sealing.fields import Place


@dataclass(frozen=True, slots=True)
class Heard:
    """What intake made of a call's sound. sound: None when it could not be decoded, and is kept as it came."""

    laid: Laid
    sound: Sound | None

    @property
    def damaged(self) -> bool:
        return self.sound is None or self.sound.lost > 0

    @property
    def voiced_ms(self) -> int:
        """What nobody could listen to is taken for a voice."""
        if self.sound is None:
            return rules.LEAST_VOICE_MS
        return rules.voiced_ms(self.sound.pcm, self.sound.rate)


def home_of(capture: Capture, said: Said) -> tuple[Practice, Mailbox | None]:
    """The tray of the menu key, else the mailbox that the snapshot named, else the unrouted tray."""
    practice, mailbox = _by_number(capture)
    if said.mailbox:
        chosen = Mailbox.objects.filter(pk=said.mailbox, practice=practice).first()
        mailbox = chosen or mailbox
    return practice, mailbox


def _by_number(capture: Capture) -> tuple[Practice, Mailbox | None]:
    if is_ulid(capture.meta.mailbox):
        mailbox = Mailbox.objects.select_related("practice").filter(pk=capture.meta.mailbox).first()
        if mailbox is not None:
            return mailbox.practice, mailbox
    practice = Practice.objects.filter(pk=capture.meta.practice).first()
    practice = practice or Practice.objects.filter(takes_unrouted=True).order_by("id").first()
    practice = practice or Practice.objects.order_by("id").first()
    if practice is None:
        raise NightbellError(
            "A capture has no home", "there is no practice yet", "finish set-up: nightbell practice add"
        )
    return practice, None


def describe(
    capture: Capture, said: Said, heard: Heard, home: tuple[Practice, Mailbox | None], now: datetime
) -> Message:
    """The message, not yet stored."""
    laid, length = heard.laid, heard.laid.length
    kind = rules.kind_of(said, laid.own, length, heard.voiced_ms)
    if said.studio:
        kind = Kind.MESSAGE.value  # a manager who hangs up is no missed patient
    answered = parse_iso(capture.meta.answered_at)
    urgency = rules.first_urgency(said, kind, capture.end.reason, heard.damaged)
    done = kind == Kind.STATUS or (bool(said.studio) and not said.keep) or said.imported == "heard"
    return Message(
        id=capture.meta.capture,
        practice=home[0],
        mailbox=home[1],
        kind=kind,
        state=State.CLOSED if done else State.NEW,
        closed_at=now if done else None,
        urgency=urgency,
        pressed_urgent=said.urgent,
        needs_alert=urgency == Urgency.URGENT,
        dialled=Number.plain(capture.meta.dialled)[:40],
        language=said.language or capture.meta.language[:2] or "en",
        answered_at=answered,
        received_at=min(now, answered + timedelta(milliseconds=capture.end.at)),
        stored_at=now,
        duration_ms=length * 1000 // rules.RATE,
        end_reason=capture.end.reason.value,
        reached=rules.reached(capture),
        words=_words(heard, said),
        parts=[part.as_dict() for part in laid.parts],
        tags=[*said.tags, *([undecoded.TAG] if heard.sound is None else [])],
        promise=said.promise,
        promised_by=said.promised_by,
        flow=max(0, capture.meta.flow),
    )


def _words(heard: Heard, said: Said) -> Words:
    if not heard.laid.length or said.studio:
        return Words.EMPTY
    return Words.FAILED if heard.sound is None else Words.PENDING


def seal_columns(message: Message, key: bytes, capture: Capture, said: Said, heard: Heard) -> None:
    """Everything of the patient's, under the message's key."""

    def where(column: str) -> Place:
        return sealed.place(column, message.id, message.practice_id)

    message.caller_sealed = sealed.seal_text(key, where("caller"), capture.meta.caller)
    confirmed = _confirmed(said, capture.meta.caller) or said.entered
    if confirmed:
        message.callback_sealed = sealed.seal_text(key, where("callback"), confirmed)
    pcm = heard.sound.pcm if heard.sound else b""
    message.peaks_sealed = sealed.seal_bytes(key, where("peaks"), rules.peaks(pcm))
    reasons = [*_reasons(capture, said, message), *_damage(heard)]
    message.reasons_sealed = sealed.seal_reasons(key, where("reasons"), reasons, {}, None)


def _damage(heard: Heard) -> list[Reason]:
    if heard.sound is None:
        return [Reason("damaged", "the sound could not be decoded yet", "", 0, 0)]
    return [Reason("damaged", "a part of the sound is damaged", "", 0, 0)] if heard.damaged else []


def _confirmed(said: Said, caller: str) -> str:
    """The number that the caller said yes to, or ''."""
    return caller if said.callback == SEEN else "" if said.callback == SKIPPED else said.callback


def _reasons(capture: Capture, said: Said, message: Message) -> list[Reason]:
    reasons = []
    if said.urgent:
        reasons.append(Reason("key", "pressed 1 for urgent", "", 0, 0))
    if said.review:
        reasons.append(Reason("menu", "what the caller chose at the menu", "", 0, 0))
    if said.flagged:
        reasons.append(Reason("flagged", "marked as urgent in the voicemail of before", "", 0, 0))
    if message.kind == Kind.MISSED:
        reasons.append(Reason("missed", "possible missed patient", "", 0, 0))
    if said.unfetched:
        reasons.append(Reason("unfetched", "the recording could not be fetched from the carrier", "", 0, 0))
    if capture.end.reason is EndReason.INTERRUPTED:
        reasons.append(Reason("interrupted", "the recording was cut short", "", 0, 0))
    return reasons
