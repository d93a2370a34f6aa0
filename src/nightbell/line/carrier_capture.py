"""From what a provider recorded to a capture as the phone would have written it. Pure but for the sealing.

The call's own time is an estimate (words are as long as their clips, a recording as long as the provider says in whole
seconds); here the recordings' true lengths take their place, so that each lies within its part to the sample.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from nightbell.core.capture import AudioPacket, Capture, CaptureMeta, Codec, Digit, End, EndReason, Mark
from nightbell.core.carriers import BadRecording
from nightbell.core.clock import iso
from nightbell.core.sound import BadSound, Decoder
from nightbell.flow.graph import Part
from nightbell.sealing.capture import CaptureSealer
from nightbell.sealing.epochs import EpochPublic
from nightbell.sip import g711

RATE = 8000
FRAME = 160
LONGEST = 1800.0  # seconds of one recording
_PCM, _ALAW, _ULAW = 1, 6, 7
_FORM = struct.Struct("<HHIIHH")


def read_sound(data: bytes, decoder: Decoder) -> bytes:
    """The PCMU of a recording, mono at 8000 Hz. What is not a plain WAV goes through the decoder.

    Raises BadRecording (damaged, cut, no sound at all), SoundUnavailable.
    """
    found = _plain(data)
    if found is not None:
        return found
    try:
        decoded = decoder.decode(data, LONGEST)
    except BadSound as error:
        raise BadRecording("A recording", f"it cannot be read: {error.why}") from error
    return g711.encode(_to_8k(decoded.samples, decoded.rate), Codec.PCMU)


def _plain(data: bytes) -> bytes | None:
    """The PCMU of a WAV with 8000 samples a second; None for any other file. Raises BadRecording for half a WAV."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    form: tuple[int, ...] | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt " and len(body) >= _FORM.size:
            form = _FORM.unpack_from(body)
        elif name == b"data" and form is not None:
            if len(body) < size:
                raise BadRecording("A recording", "its file ends too early")
            return _samples(body, form)
        at += 8 + size + size % 2
    raise BadRecording("A recording", "its file ends too early")


def _samples(body: bytes, form: tuple[int, ...]) -> bytes | None:
    kind, channels, rate, _, _, bits = form
    if rate != RATE or channels not in (1, 2):
        return None
    if kind == _PCM and bits == 16:
        body = body[: len(body) // (2 * channels) * 2 * channels]
        pcm = body if channels == 1 else b"".join(body[i : i + 2] for i in range(0, len(body), 4))
        return g711.encode(pcm, Codec.PCMU)
    if kind in (_ALAW, _ULAW) and bits == 8:
        return g711.transcode(body[::channels], Codec.PCMA if kind == _ALAW else Codec.PCMU, Codec.PCMU)
    return None


def _to_8k(samples: bytes, rate: int) -> bytes:
    """PCM16 at 8000 Hz from float samples: each one is the mean of those that it stands for."""
    floats = memoryview(samples).cast("f")
    count = len(floats) * RATE // rate
    out = bytearray()
    for i in range(count):
        first, last = i * rate // RATE, max(i * rate // RATE + 1, (i + 1) * rate // RATE)
        piece = floats[first:last]
        value = round(sum(piece) / max(1, len(piece)) * 32767)
        out += max(-32768, min(32767, value)).to_bytes(2, "little", signed=True)
    return bytes(out)


@dataclass(frozen=True, slots=True)
class Call:
    """A call to be sealed. marks, keys: (ms, name) by the call's own time; ended: (ms, why); answered: instant of the
    answer; sounds: the PCMU of each take that there is."""

    capture: str
    practice: str
    mailbox: str
    dialled: str
    caller: str
    answered: datetime
    language: str
    snapshot: int
    flow: int
    marks: tuple[tuple[int, str], ...]
    keys: tuple[tuple[int, str], ...]
    ended: tuple[int, EndReason]
    sounds: Mapping[int, bytes]


def compose(call: Call) -> Capture:
    """The capture, not yet sealed. A take that no part of the call names is a part of its own, at the end."""
    line = _TimeLine(call)
    for at, kind, name in sorted(_events(call), key=lambda one: one[:2]):
        line.take(at, kind, name)
    end = line.finish(call.ended[0])
    meta = CaptureMeta(
        capture=call.capture, practice=call.practice, mailbox=call.mailbox, dialled=call.dialled, caller=call.caller,
        answered_at=iso(call.answered), language=call.language, codec=Codec.PCMU, snapshot=call.snapshot,
        flow=call.flow,
    )  # fmt: skip
    return Capture(
        meta, tuple(line.packets), tuple(line.digits), tuple(line.marks), End(end, call.ended[1]), True
    )


def _events(call: Call) -> list[tuple[int, int, str]]:
    return [(at, 0, name) for at, name in call.marks] + [(at, 1, key) for at, key in call.keys]


class _TimeLine:
    """Marks and keys in order; each part becomes as long as its sound."""

    def __init__(self, call: Call) -> None:
        self.sounds = dict(call.sounds)
        self.marks: list[Mark] = []
        self.digits: list[Digit] = []
        self.packets: list[AudioPacket] = []
        self._shift, self._part, self._ends = 0, -1, -1  # _ends: of the part that is open, -1 for none
        self._began: int | None = None

    def take(self, at: int, kind: int, name: str) -> None:
        at += self._shift
        if kind == 1:
            self.digits.append(Digit(max(at, 0), name))
            return
        if name == "recording" and self._began is None:
            self._began = at
        elif name.startswith("part:"):
            self._open(at)
        elif name == "part-end" and self._ends >= 0:
            self._shift += self._ends - at
            at, self._ends = self._ends, -1
        self.marks.append(Mark(at, name))

    def _open(self, at: int) -> None:
        self._part += 1
        sound = self.sounds.pop(self._part, b"")
        self._lay(at, sound)
        self._ends = at + _ms(sound)

    def _lay(self, at: int, sound: bytes) -> None:
        if self._began is None:
            self._began = at
            self.marks.append(Mark(at, "recording"))
        first = (at - self._began) * RATE // 1000
        for offset in range(0, len(sound), FRAME):
            self.packets.append(AudioPacket(first + offset, sound[offset : offset + FRAME]))

    def finish(self, at: int) -> int:
        """Milliseconds at which all is over."""
        end = max(at + self._shift, self._ends)
        if self._ends >= 0 and self.sounds:
            self.marks.append(Mark(self._ends, "part-end"))
        for take in sorted(self.sounds):
            sound = self.sounds[take]
            self.marks.append(Mark(end, f"part:{Part.MESSAGE}"))
            self._lay(end, sound)
            end += _ms(sound)
            self.marks.append(Mark(end, "part-end"))
        return end


def _ms(sound: bytes) -> int:
    """Milliseconds, the last one begun."""
    return -(-len(sound) * 1000 // RATE)


def sealed(capture: Capture, epoch: EpochPublic) -> bytes:
    """The file as the phone would have left it. Only the public half of the epoch is needed."""
    sealer = CaptureSealer(epoch, capture.meta, 0.0)
    out = bytearray(sealer.header)
    records: Sequence[Mark | Digit] = sorted((*capture.marks, *capture.digits), key=lambda one: one.at)
    for record in records:
        out += sealer.add(record, 0.0)
    out += sealer.add_audio(((one.offset, one.payload) for one in capture.packets), 0.0)
    return bytes(out + sealer.finish(capture.end, 0.0))


def lies_whole(wav: bytes, sound: bytes) -> bool:
    """Whether a take is heard in a message's sound from its first sample to its last, with nothing in between."""
    return wav.find(g711.decode(sound, Codec.PCMU)) >= 0
