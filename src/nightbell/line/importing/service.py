"""Takes in what was found: each message sealed as a capture of its own, then by the same intake as a call's.

An import wakes nobody and is done once. A message is known whenever it is imported again: the end of its id is made of what
the message was there and of its sound, not of where its file lies or how it is dated. The row of a message that was disposed
of stays, and so does that.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from nightbell.audit import service as audit
from nightbell.core.capture import AudioPacket, Capture, CaptureMeta, End, EndReason, Mark
from nightbell.core.clock import iso
from nightbell.core.ids import ALPHABET
from nightbell.core.sound import Decoder, Unpacker
from nightbell.line import carrier_capture
from nightbell.line.importing import asterisk, fusionpbx, sounds
from nightbell.line.importing.found import BadImport, Damaged, Folder, Found, look, printable
from nightbell.line.importing.fusionpbx import Rows
from nightbell.line.importing.sounds import Payloads
from nightbell.mailbox import epochs, intake
from nightbell.mailbox.models import Mailbox, Message
from nightbell.people.models import Practice
from nightbell.sealing import spool
from nightbell.sealing.epochs import EpochPublic
from nightbell.sip.caller_id import as_number

ASTERISK, FUSIONPBX = "asterisk", "fusionpbx"
FRAME = 160
_TIME = 10  # characters of a ULID that are its time
IMPORTED, AGAIN, DAMAGED, SKIPPED = "imported", "again", "damaged", "skipped"


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one message or file. outcome: IMPORTED, AGAIN (it is there already), DAMAGED or SKIPPED; message: its id."""

    where: str
    outcome: str
    why: str = ""
    message: str = ""
    heard: bool = False
    flagged: bool = False


@dataclass(slots=True)
class Report:
    """Of one import. counts: of messages and files by outcome."""

    kind: str
    dry: bool
    entries: list[Entry] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(one.outcome for one in self.entries)
        return {name: found[name] for name in (IMPORTED, AGAIN, DAMAGED, SKIPPED)}

    @property
    def waiting(self) -> int:
        """Marked as urgent there and heard by nobody: a person has to look at them, since nobody is woken."""
        return sum(one.flagged and not one.heard and one.outcome == IMPORTED for one in self.entries)


@dataclass(frozen=True, slots=True)
class Into:
    """Where messages go, and what that needs."""

    mailbox: Mailbox
    spool: Path
    decoder: Decoder
    unpacker: Unpacker


def home(practice: str, mailbox: str) -> Mailbox:
    """The mailbox of this name (case does not matter) in the practice with this code or id. Raises BadImport."""
    found = (
        Practice.objects.filter(code=practice.upper()).first() or Practice.objects.filter(pk=practice).first()
    )
    if found is None:
        raise BadImport(
            f"The practice {printable(practice)}", "there is none", "run: nightbell practice list"
        )
    boxes = list(Mailbox.objects.select_related("practice").filter(practice=found).order_by("position", "id"))
    named = [box for box in boxes if box.name.casefold() == mailbox.casefold() or box.id == mailbox]
    if len(named) != 1:
        names = ", ".join(box.name for box in boxes) or "none"
        raise BadImport(f"The mailbox {printable(mailbox)}", "there is none of that name", f"it has: {names}")
    return named[0]


def run(
    root: Path,
    into: Into,
    actor: str,
    now: datetime,
    kind: str = "",
    rows: Rows | None = None,
    dry: bool = False,
) -> Report:
    """Import everything below `root`. kind: ASTERISK, FUSIONPBX or '' for what it looks like; dry: only say what would be done.

    Raises BadImport before anything is taken, and what keeps intake from working (AuditClosed, KeysAway, a full disk).
    """
    folder = look(root)
    kind = kind or _kind(folder)
    found = _messages(folder, kind, rows or {}, now)
    report = Report(kind, dry, _left(folder, kind))
    epoch = epochs.current()
    if epoch is None:
        raise BadImport("Nothing can be sealed", "there is no sealing key yet", "start nightbell serve once")
    known = _known(into.spool)
    if not dry:
        _record(into, "import:begin", actor, now, {"from": kind})
    try:
        for one in found:
            report.entries.append(_take(one, into, epoch, now, dry, known))
    finally:
        if not dry:
            _record(into, "import:end", actor, now, {"from": kind, **report.counts})
    report.entries.sort(key=lambda entry: entry.where)
    return report


def _kind(folder: Folder) -> str:
    counts = {
        ASTERISK: sum(map(asterisk.is_one, folder.files)),
        FUSIONPBX: sum(map(fusionpbx.is_one, folder.files)),
    }
    kinds = [kind for kind, count in counts.items() if count]
    if len(kinds) != 1:
        why = (
            "it holds messages of both kinds"
            if kinds
            else "no message of a voicemail that is known lies in it"
        )
        raise BadImport("The folder", why, "name the folder of one mailbox, and --from")
    return kinds[0]


def _messages(folder: Folder, kind: str, rows: Rows, now: datetime) -> Iterable[Found]:
    return asterisk.messages(folder, now) if kind == ASTERISK else fusionpbx.messages(folder, now, rows)


def _left(folder: Folder, kind: str) -> list[Entry]:
    """What is no message: named, so that nobody has to wonder."""
    module = asterisk if kind == ASTERISK else fusionpbx
    left = [(path, "it is no message") for path in module.others(folder)]
    left += [(path, "it is a link, and links are not followed") for path in folder.links]
    left += [(path, "it is no file") for path in folder.strange]
    return [Entry(folder.shown(path), SKIPPED, why) for path, why in left]


def _record(into: Into, action: str, actor: str, now: datetime, detail: dict[str, object]) -> None:
    box = into.mailbox
    audit.record(box.practice_id, actor=actor, action=action, now=now, detail={"mailbox": box.id, **detail})


def _known(folder: Path) -> dict[str, str]:
    """The messages that are there, taken in or in the spool: the lasting end of an id, and the id."""
    ids = [path.name.removesuffix(spool.CAP) for path in folder.glob(f"*{spool.CAP}")]
    ids += Message.objects.values_list("id", flat=True)
    return {one[_TIME:]: one for one in ids}


def _take(
    one: Found, into: Into, epoch: EpochPublic, now: datetime, dry: bool, known: dict[str, str]
) -> Entry:
    if one.why or one.received is None:
        return Entry(one.where, DAMAGED, one.why)
    try:
        payloads = sounds.sound(one.sounds, into.decoder)
    except Damaged as damaged:
        return Entry(one.where, DAMAGED, damaged.why)
    name = _name(one.origin, one.received, payloads)
    there = known.get(name[_TIME:], "")
    if not there and not dry:
        _seal(capture_of(name, one, one.received, payloads, into.mailbox), into.spool, epoch)
        # None: the worker was quicker
        intake.take_in(into.spool / f"{name}{spool.CAP}", now, into.unpacker)
    known.setdefault(name[_TIME:], name)
    outcome, message = (AGAIN, there) if there else (IMPORTED, "" if dry else name)
    return Entry(one.where, outcome, "", message, one.heard, one.flagged)


def _name(origin: str, received: datetime, payloads: Payloads) -> str:
    """The ULID of a message: when it was left, and a hash in place of chance, the same each time. The time may differ: that
    of a file is a new one on a copy, and rows of the database there know it better."""
    told = hashlib.sha256(origin.encode())
    told.update(payloads.codec.encode() + hashlib.sha256(payloads.data).digest())
    value = int(received.timestamp() * 1000) << 80 | int.from_bytes(told.digest()[:10])
    return "".join(ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))


def capture_of(name: str, one: Found, received: datetime, payloads: Payloads, mailbox: Mailbox) -> Capture:
    """As the phone would have written it, had the message been left with us."""
    length = payloads.milliseconds
    meta = CaptureMeta(
        capture=name, practice=mailbox.practice_id, mailbox=mailbox.id, dialled="", caller=as_number(one.caller),
        answered_at=iso(received - timedelta(milliseconds=length)), language=mailbox.practice.language,
        codec=payloads.codec, snapshot=0,
    )  # fmt: skip
    packets = (AudioPacket(at, payloads.data[at : at + FRAME]) for at in range(0, len(payloads.data), FRAME))
    marks = [Mark(0, "recording"), Mark(0, f"imported:{'heard' if one.heard else 'new'}")]
    marks += [Mark(0, "imported-flag")] if one.flagged else []
    return Capture(meta, tuple(packets), (), tuple(marks), End(length, EndReason.HANG_UP), True)


def _seal(capture: Capture, folder: Path, epoch: EpochPublic) -> None:
    """Whole and durable under its final name, or not there at all."""
    file = spool.SpoolFile.create(folder, capture.meta.capture)
    try:
        file.append(carrier_capture.sealed(capture, epoch))
        file.finish()
    except BaseException:
        file.discard()
        raise
