"""The capture: a call's recording, sealed while it is spoken (docs/formats/capture.md).

    capture = head, stream
    head    = "NBCAP", 0x01, epoch id (26), capture id (26), sealed key length u16, sealed key
    stream  = stream.py with 4 kB segments under the capture key, associated data = head
    plain   = record*
    record  = 0x00                                   filler, one byte
            | type u8, length u16, body (length)

The first segment holds the metadata alone and is closed at once, so that a call killed in its
first second still leaves a trace. Integers are big-endian.
"""

from __future__ import annotations

import json
import re
import secrets
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from nightbell.core.capture import AudioPacket, Capture, CaptureMeta, Codec, Digit, End, EndReason, Mark
from nightbell.core.ids import is_ulid
from nightbell.sealing import epochs
from nightbell.sealing.epochs import EpochPublic
from nightbell.sealing.errors import Truncated, UnknownFormat, WrongKey
from nightbell.sealing.stream import CAPTURE_SEGMENT, KEY, StreamSealer, recover
from nightbell.sip.codecs import duration

MAGIC = b"NBCAP\x01"
_FIXED = struct.Struct(">6s26s26sH")
PEEK = _FIXED.size
"""Bytes that `peek` needs."""
MAX_AGE = 0.9
"""Seconds after which an unsealed byte gets its segment closed by filler."""

_META, _AUDIO, _DIGIT, _MARK, _END, _BESIDE = 1, 2, 3, 4, 5, 6
_SOUNDS = (_AUDIO, _BESIDE)
_AUDIO_HEAD = struct.Struct(">BHI").pack
_TIMED_HEAD = struct.Struct(">BHI").pack
_META_HEAD = struct.Struct(">BH").pack
_RECORD = struct.Struct(">BH").unpack_from
_U32 = struct.Struct(">I").unpack_from
_FILLER = re.compile(rb"\x00*")
_REASONS = {reason.value: reason for reason in EndReason}


class CaptureSealer:
    """Seals one call. Write `header` first, then whatever `add`, `pad` and `finish` give, in order.

    `now` is monotonic seconds. Raises ValueError for a record that cannot be framed (over 65,531
    bytes, negative or over 32-bit numbers) and RuntimeError after `finish`. One thread at a time.
    """

    def __init__(self, epoch: EpochPublic, meta: CaptureMeta, now: float) -> None:
        if not is_ulid(meta.capture):
            raise ValueError("a capture's id is a ULID")
        key = secrets.token_bytes(KEY)
        bound = MAGIC + epoch.id.encode() + meta.capture.encode()
        sealed = epochs.seal_key(epoch, key, bound)
        head = _FIXED.pack(MAGIC, epoch.id.encode(), meta.capture.encode(), len(sealed)) + sealed
        self._stream = StreamSealer(key, head, CAPTURE_SEGMENT)
        body = json.dumps(meta.as_dict(), separators=(",", ":")).encode()
        first = self._stream.write(_META_HEAD(_META, len(body)) + body, more=True)
        self._oldest = now
        self._finished = False
        self.header = head + self._stream.header + first + self._close()

    def add(self, record: AudioPacket | Digit | Mark, now: float) -> bytes:
        """Take one record; give the segments that it closed, mostly none."""
        if self._finished:
            raise RuntimeError("a capture that was finished takes no more records")
        stream = self._stream
        if not stream.pending:
            self._oldest = now
        sealed = stream.write(_frame(record), more=True)
        if sealed:
            self._oldest = now
        return sealed

    def add_audio(self, packets: Iterable[tuple[int, bytes]], now: float, beside: bool = False) -> bytes:
        """As `add` for many audio packets (offset, payload) at once, at a third of the cost. beside: of the second side of
        a call back."""
        if self._finished:
            raise RuntimeError("a capture that was finished takes no more records")
        stream = self._stream
        if not stream.pending:
            self._oldest = now
        try:
            kind = _BESIDE if beside else _AUDIO
            framed = b"".join(
                [_AUDIO_HEAD(kind, len(payload) + 4, offset) + payload for offset, payload in packets]
            )
        except struct.error as error:
            raise ValueError("a capture record does not fit its frame") from error
        sealed = stream.write(framed, more=True)
        if sealed:
            self._oldest = now
        return sealed

    def pad(self, now: float) -> bytes:
        """Close the open segment if its oldest byte is MAX_AGE old; else nothing. Call about 10 times a second."""
        if self._finished or not self._stream.pending or now - self._oldest < MAX_AGE:
            return b""
        return self._close()

    def flush(self) -> bytes:
        """Close the open segment whatever its age: what was added so far is then in the bytes given."""
        return self._close() if self._stream.pending and not self._finished else b""

    def finish(self, end: End, now: float) -> bytes:
        """Take the last record; give the last segments."""
        if self._finished:
            raise RuntimeError("a capture ends once")
        self._finished = True
        return self._stream.finish(_timed(_END, end.at, end.reason.value))

    def _close(self) -> bytes:
        return self._stream.write(bytes(self._stream.room), more=True) if self._stream.pending else b""


def _frame(record: AudioPacket | Digit | Mark) -> bytes:
    try:
        if type(record) is AudioPacket:
            return _AUDIO_HEAD(_AUDIO, len(record.payload) + 4, record.offset) + record.payload
        if type(record) is Digit:
            return _timed(_DIGIT, record.at, record.key)
        if type(record) is Mark:
            return _timed(_MARK, record.at, record.name)
    except struct.error as error:
        raise ValueError("a capture record does not fit its frame") from error
    raise TypeError(f"not a capture record: {type(record).__name__}")


def _timed(kind: int, at: int, text: str) -> bytes:
    body = text.encode()
    return _TIMED_HEAD(kind, len(body) + 4, at) + body


def peek(head: bytes) -> tuple[str, str]:
    """(epoch id, capture id) from the first PEEK bytes, not yet authenticated. Raises Truncated, UnknownFormat."""
    if len(head) < PEEK:
        raise Truncated("a capture", f"it has {len(head)} bytes, its head alone has {PEEK}")
    magic, epoch, capture, _ = _FIXED.unpack_from(head)
    if magic != MAGIC:
        raise UnknownFormat("a capture", "it does not begin with NBCAP and version 1")
    ids = epoch.decode("ascii", "replace"), capture.decode("ascii", "replace")
    if not (is_ulid(ids[0]) and is_ulid(ids[1])):
        raise UnknownFormat("a capture", "the ids in its head are not ULIDs")
    return ids


def open_capture(data: bytes, private: bytes | epochs.Unfolded, sound: bool = True) -> Capture:
    """Open with the epoch's private seed, or it unfolded, up to the last whole segment and the last whole record.

    sound: without it the packets are passed over, and all else is as quick as it can be.
    Raises Truncated when not even the metadata survived, WrongKey, UnknownFormat. Damage after the
    metadata shortens the capture and marks it interrupted; it never alters a record.
    """
    peek(data[:PEEK])
    size = PEEK + int(_FIXED.unpack_from(data)[3])
    if len(data) < size:
        raise Truncated("a capture", "it was cut inside its head")
    key = epochs.open_key(private, data[PEEK:size], MAGIC + data[6:58])
    if len(key) != KEY:
        raise WrongKey("a capture", "the sealed key has a wrong length")
    plain = recover(key, data[:size], data[size:])
    return _read(plain.plain, plain.whole, data[32:58].decode(), sound)


@dataclass(slots=True)
class _Found:
    meta: CaptureMeta | None = None
    packets: list[AudioPacket] = field(default_factory=list)
    beside: list[AudioPacket] = field(default_factory=list)
    digits: list[Digit] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    end: End | None = None


def _read(plain: bytes, whole: bool, capture: str, sound: bool) -> Capture:
    found, at, size = _Found(), 0, len(plain)
    while at < size and found.end is None:
        if plain[at] == 0:
            at = _FILLER.match(plain, at).end()  # type: ignore[union-attr]
            continue
        if at + 3 > size:
            break
        kind, length = _RECORD(plain, at)
        at += 3 + length
        if at > size:
            break
        if sound or kind not in _SOUNDS:
            _take(found, kind, plain[at - length : at])
    if found.meta is None or found.meta.capture != capture:
        raise Truncated("a capture", "its metadata was not recovered", "keep the file: nothing else is in it")
    end = found.end or End(_last_moment(found), EndReason.INTERRUPTED)
    complete = whole and found.end is not None
    return Capture(
        found.meta, tuple(found.packets), tuple(found.digits), tuple(found.marks), end, complete, tuple(found.beside)
    )  # fmt: skip


def _take(found: _Found, kind: int, body: bytes) -> None:
    """File one authenticated record. A type of a later release is passed over: the rest is still a message."""
    if kind == _META and found.meta is None:
        found.meta = _meta(body)
    if kind not in (*_SOUNDS, _DIGIT, _MARK, _END) or len(body) < 4:
        return
    number = _U32(body)[0]
    if kind in _SOUNDS:
        (found.packets if kind == _AUDIO else found.beside).append(AudioPacket(number, body[4:]))
        return
    text = body[4:].decode("utf-8", "replace")
    if kind == _DIGIT:
        found.digits.append(Digit(number, text))
    elif kind == _MARK:
        found.marks.append(Mark(number, text))
    else:
        found.end = End(number, _REASONS.get(text, EndReason.INTERRUPTED))


def _meta(body: bytes) -> CaptureMeta:
    try:
        values = json.loads(body)
        return CaptureMeta(**(values | {"codec": Codec(values["codec"])}))
    except (ValueError, TypeError, KeyError) as error:
        raise UnknownFormat("a capture", "its metadata is not that of version 1") from error


def _last_moment(found: _Found) -> int:
    """Milliseconds since the answer of the last thing that was recovered."""
    began = next((mark.at for mark in found.marks if mark.name == "recording"), 0)
    codec = found.meta.codec if found.meta is not None else Codec.PCMU
    packets = [*found.packets, *found.beside]
    heard = max((packet.offset + duration(codec, packet.payload) for packet in packets), default=0)
    moments = [digit.at for digit in found.digits] + [mark.at for mark in found.marks]
    return max([*moments, began + heard * 1000 // codec.clock])
