"""What intake does before anything is durable: open a capture, decode it, and say which message it becomes.

A file that holds nothing, and one that no key opens, end here.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nightbell.audit import service as audit
from nightbell.core import durable
from nightbell.core.capture import Capture
from nightbell.core.ids import is_ulid
from nightbell.core.sound import Unpacker
from nightbell.mailbox import marks, rules, sounding, talks, undecoded
from nightbell.mailbox.describe import Heard, describe, home_of
from nightbell.mailbox.marks import Said
from nightbell.mailbox.models import Mailbox, Message
from nightbell.mailbox.stored import payloads_ad, playback_ad
from nightbell.people.models import Practice
from nightbell.sealing import epochs
from nightbell.sealing.capture import open_capture, peek
from nightbell.sealing.errors import KeyUnavailable, NoSuchKey, SealError
from nightbell.sealing.playback import seal_playback
from nightbell.store import vault

ACTOR = "system:worker"
BEGINNING = 65536  # bytes: some seven seconds of sound and all keys before it


@dataclass(frozen=True, slots=True)
class Taken:
    """What intake did with one capture: 'stored', 'tidied' (was stored before), 'empty' or 'unreadable'; 'talk' and 'gone' as
    talks.Result.

    rings: an alert is stored for this call; urgent: for this call or, by it, for another.
    """

    capture: str
    result: str
    urgent: bool = False
    rings: bool = False


@dataclass(frozen=True, slots=True)
class Unpackers:
    """What decodes G.722 and Opus. urgent: gives up sooner, for an alert waits behind it; the job tries again."""

    others: Unpacker | None = None
    urgent: Unpacker | None = None


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a waiting capture says at its beginning. quick: its sound takes no decoder that may be slow."""

    urgent: bool
    quick: bool


@dataclass(slots=True)
class Ready:
    """A capture that was opened and decoded, and the message that it becomes. Nothing of it is durable yet."""

    path: Path
    capture: Capture
    said: Said
    heard: Heard
    message: Message
    key: bytes

    @property
    def caller(self) -> str:
        """'' for a message of another voicemail: those are old, and count for nobody who calls again tonight."""
        return "" if self.said.imported else self.capture.meta.caller


@dataclass(frozen=True, slots=True)
class Talked:
    """A capture that was opened and is no message: a call back that was recorded with the patient's consent."""

    path: Path
    capture: Capture


class Round:
    """What is asked once for captures that are taken in together, and forgotten with them: keys of epochs, homes, and which
    of them are messages already. ids: of captures that are claimed, so that nobody else stores them now."""

    def __init__(self, ids: Sequence[str] = ()) -> None:
        self._seeds: dict[str, epochs.Unfolded] = {}
        self._homes: dict[tuple[str, str, str], tuple[Practice, Mailbox | None]] = {}
        self._asked = set(ids)
        self._before = _urgencies(ids) if ids else {}

    def urgency_of(self, capture: str) -> str | None:
        """Of the message that this capture is already; None when it is none yet."""
        if capture not in self._asked:
            self._before |= _urgencies([capture])
            self._asked.add(capture)
        return self._before.get(capture)

    def seed(self, epoch_id: str) -> epochs.Unfolded:
        """Raises NoSuchKey, KeyUnavailable, SealError."""
        if epoch_id not in self._seeds:
            self._seeds[epoch_id] = epochs.unfold(vault.keyring().get(epoch_id, "epoch"))
        return self._seeds[epoch_id]

    def home(self, capture: Capture, said: Said) -> tuple[Practice, Mailbox | None]:
        named = (capture.meta.practice, capture.meta.mailbox, said.mailbox)
        if named not in self._homes:
            self._homes[named] = home_of(capture, said)
        return self._homes[named]


def _urgencies(ids: Sequence[str]) -> dict[str, str]:
    return dict(Message.objects.filter(pk__in=ids).values_list("pk", "urgency"))


def beginning(path: Path, shared: Round) -> Beginning | None:
    """Whether the caller of a waiting capture pressed 1, from its beginning alone. None: cannot be told now."""
    try:
        with path.open("rb") as file:
            data = file.read(BEGINNING)
        epoch_id, _ = peek(data)
        capture = open_capture(data, shared.seed(epoch_id), sound=False)
    except (OSError, SealError, KeyUnavailable):
        return None  # intake itself will say what is the matter
    return Beginning(rules.pressed_urgent(capture), capture.meta.codec in sounding.LAWS)


def opened(path: Path, shared: Round, unpackers: Unpackers, now: datetime) -> Ready | Talked | Taken:
    """The first step, of a capture that is claimed. Taken: there is nothing more to do. Raises as `take_in`."""
    data = path.read_bytes()
    try:
        epoch_id, capture_id = peek(data)
    except SealError:
        return _without_header(path, data, now)
    before = shared.urgency_of(capture_id)
    if before is not None:
        durable.remove_file(path)
        return Taken(capture_id, "tidied", rings=before == "urgent")
    try:
        seed = shared.seed(epoch_id)
    except NoSuchKey as error:
        return _unreadable(path, capture_id, type(error).__name__, now)
    except (KeyUnavailable, SealError) as error:
        # Another key file than ours is no fault of the capture's: it waits for the right one.
        raise vault.KeysAway(
            "Captures wait in the spool", "the right keys are not available", "put the key file back"
        ) from error
    try:
        capture = open_capture(data, seed)
    except SealError as error:
        return _unreadable(path, capture_id, type(error).__name__, now)
    if capture.meta.talk:
        return Talked(path, capture)
    return _ready(path, capture, shared, unpackers, now)


def take_talk(one: Talked, now: datetime) -> Taken:
    """It joins its call back, and the capture goes. Nothing is made of it that a person would be told of. Raises as `take_in`."""
    result = talks.take(one.capture, now)
    if result is talks.Result.UNKNOWN:
        return _unreadable(one.path, one.capture.meta.capture, "NoSuchCall", now)
    durable.remove_file(one.path)
    return Taken(one.capture.meta.capture, result.value)


def _ready(path: Path, capture: Capture, shared: Round, unpackers: Unpackers, now: datetime) -> Ready:
    said = marks.read(capture.marks)
    heard = hear(capture, unpackers.urgent if said.urgent or said.joins else unpackers.others)
    message = describe(capture, said, heard, shared.home(capture, said), now)
    return Ready(path, capture, said, heard, message, secrets.token_bytes(32))


def hear(capture: Capture, unpacker: Unpacker | None) -> Heard:
    """Decode what the message keeps. Whatever becomes of that, there is a message: intake fails open."""
    laid = sounding.lay(capture)
    try:
        return Heard(laid, sounding.sound(laid, unpacker))
    except Exception:  # of whatever kind: the next attempt is the job's, and this is a message now
        return Heard(laid, None)


def playback_object(key: bytes, message: Message, heard: Heard) -> tuple[bytes, int]:
    """What is put into the store, and how many bytes of WAV are in it."""
    if heard.sound is None:
        return seal_playback(key, payloads_ad(message.id, message.practice_id), undecoded.pack(heard.laid)), 0
    wav = heard.sound.wav
    return seal_playback(key, playback_ad(message.id, message.practice_id), wav), len(wav)


def _without_header(path: Path, data: bytes, now: datetime) -> Taken:
    """A file cut before its header was whole: the phone died as it answered. Nothing can be learnt from it."""
    if len(data) >= 4096:
        return _unreadable(path, path.stem, "UnknownFormat", now)
    audit.record(
        audit.INSTALLATION, actor=ACTOR, action="capture:empty", now=now,
        message=path.stem if is_ulid(path.stem) else "", outcome="failed", detail={"bytes": len(data)},
    )  # fmt: skip
    durable.remove_file(path)
    return Taken(path.stem, "empty")


def _unreadable(path: Path, capture_id: str, why: str, now: datetime) -> Taken:
    """Keep a capture that no key opens, out of the way, and say so: it is never thrown away silently."""
    tray = path.parent.parent / "unreadable"
    tray.mkdir(mode=0o700, exist_ok=True)
    audit.record(
        audit.INSTALLATION, actor=ACTOR, action="capture:unreadable", now=now,
        message=capture_id if is_ulid(capture_id) else "", outcome="failed", detail={"why": why},
    )  # fmt: skip
    path.rename(tray / path.name)
    durable.sync_folder(tray)
    durable.sync_folder(path.parent)
    return Taken(capture_id, "unreadable")
