"""What the marks of a capture say about the message that it becomes. Pure; what cannot be read is passed over."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from nightbell.core.capture import Mark

LANGUAGES = ("en", "es")
SEEN, SKIPPED = "seen", "skipped"
UNSURE = "unsure"  # a number was keyed in, and nobody said that it is right
IMPORTED = "imported"
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")  # as core.ids has it, which asks a clock
_STATE = re.compile(r"[a-z_]{1,20}\Z")
_CLIP = re.compile(r"[a-z0-9-]{1,24}\Z")
_NUMBER = re.compile(r"[0-9]{3,20}\Z")
_STUDIO = re.compile(r"try-?([0-9]{6})\Z")


@dataclass(frozen=True, slots=True)
class Said:
    """callback: 'seen', 'skipped', the digits that were confirmed, or '' when nothing was; entered: digits keyed in,
    confirmed or not; asking: the caller went no further than the status line; mailbox, joins: ULIDs or '';
    language: '' when it was not chosen; status: the state that was told, '' when none was asked for; studio: the
    number under which a clip was recorded, '' for all other calls; keep: it is to be kept; imported: 'new' or 'heard' for
    a message of another voicemail, flagged: it was marked as urgent there; unfetched: a carrier's recording of it could not be had; attested: 'verified' for a
    number that its carrier knows to be the caller's, 'failed' for one that somebody made up, else ''."""

    urgent: bool = False
    review: bool = False
    mailbox: str = ""
    language: str = ""
    callback: str = ""
    entered: str = ""
    asking: bool = False
    slow: bool = False
    short: bool = False
    test: bool = False
    drill: bool = False
    studio: str = ""
    keep: bool = False
    status: str = ""
    joins: str = ""
    imported: str = ""
    flagged: bool = False
    unfetched: bool = False
    attested: str = ""
    promise: str = ""
    promised_by: datetime | None = None

    @property
    def tags(self) -> list[str]:
        """Words of our own for the message's row."""
        told = [f"status:{self.status}"] if self.status else []
        if self.studio:
            told.append(f"studio:{self.studio}" if self.keep else "studio")
        unsure = bool(self.entered) and not _NUMBER.match(self.callback) and self.callback != SEEN
        plain = (
            ("relay", self.slow), ("short", self.short), ("test", self.test), ("drill", self.drill), (UNSURE, unsure),
            (IMPORTED, bool(self.imported)), (f"number-{self.attested}", bool(self.attested)),
        )  # fmt: skip
        return [name for name, there in plain if there] + told


def read(marks: Iterable[Mark]) -> Said:
    """All marks of a capture; where a thing was decided twice the last one counts."""
    names = [mark.name for mark in marks]
    last = {head: rest for head, _, rest in (name.partition(":") for name in names)}
    clip, promised_by = _promise(last.get("promise", ""))
    studio = _STUDIO.match(last.get("studio", ""))
    return Said(
        urgent="urgent" in last,
        review="urgency:review" in names,
        mailbox=_ulid(last.get("mailbox", "")),
        language=last.get("language", "") if last.get("language", "") in LANGUAGES else "",
        callback=_callback(last.get("callback", "")),
        entered=_callback(last.get("callback-entered", "")),
        asking=last.get("stage", "").startswith("status"),
        slow="slow" in last,
        short="short" in last,
        test="test" in last or studio is not None,
        drill="drill" in last,
        studio=f"try-{studio[1]}" if studio else "",
        keep="studio-keep" in last,
        status=last.get("status", "") if _STATE.match(last.get("status", "")) else "",
        joins=_ulid(last.get("joins", "")),
        imported=last.get("imported", "") if last.get("imported", "") in ("new", "heard") else "",
        flagged="imported-flag" in last,
        unfetched="unfetched" in last,
        attested=_attested(last.get("attest", "")),
        promise=clip,
        promised_by=promised_by,
    )


def _ulid(text: str) -> str:
    return text if _ULID.match(text) else ""


def _callback(text: str) -> str:
    return text if text in (SEEN, SKIPPED) or _NUMBER.match(text) else ""


def _attested(text: str) -> str:
    """Only the highest attestation is about the number itself (RFC 8588)."""
    return {"verified:A": "verified", "failed:-": "failed"}.get(text, "")


def _promise(text: str) -> tuple[str, datetime | None]:
    clip, _, until = text.partition(":")
    if not _CLIP.match(clip):
        return "", None
    try:
        moment = datetime.fromisoformat(until)
    except ValueError:
        return clip, None
    return clip, moment if moment.tzinfo is not None else None
