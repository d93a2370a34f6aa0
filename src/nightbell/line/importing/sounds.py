"""The sound of an imported message as payloads of a call: what telephones record as it is, all else decoded in a cage."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from nightbell.core.capture import Codec
from nightbell.core.carriers import BadRecording
from nightbell.core.sound import MOST_BYTES, Decoder
from nightbell.line.carrier_capture import LONGEST, read_sound
from nightbell.line.importing.found import Damaged, read
from nightbell.sip import g711

_LAWS = {
    "ulaw": Codec.PCMU, "ul": Codec.PCMU, "mu": Codec.PCMU, "pcm": Codec.PCMU,
    "alaw": Codec.PCMA, "al": Codec.PCMA, "g722": Codec.G722,
}  # fmt: skip
_LINEAR = ("sln", "raw")
_GSM_FRAME, _GSM_SAMPLES = 33, 160
_RATE_8000 = b"\x40\x0b\xfa" + bytes(7)  # 8000 as an 80 bit float, big-endian


@dataclass(frozen=True, slots=True)
class Payloads:
    """A whole message in one codec: G.711 or G.722, a byte a tick of 8000 Hz."""

    codec: Codec
    data: bytes

    @property
    def milliseconds(self) -> int:
        return len(self.data) // 8


def sound(files: tuple[Path, ...], decoder: Decoder) -> Payloads:
    """The first of these files that can be used. Raises Damaged with what is wrong with the best, SoundUnavailable."""
    problem: Damaged | None = None
    for path in files:
        try:
            return _one(path.suffix[1:], read(path, MOST_BYTES), decoder)
        except Damaged as damaged:
            problem = problem or damaged
    raise problem or Damaged("its sound is missing")


def _one(suffix: str, data: bytes, decoder: Decoder) -> Payloads:
    codec = _LAWS.get(suffix, Codec.PCMU)
    if not data:
        raise Damaged("its sound is empty")
    if suffix in _LAWS:
        payloads = Payloads(codec, data)
    elif suffix in _LINEAR:
        payloads = Payloads(codec, g711.encode(data[: len(data) // 2 * 2], codec))
    else:
        try:
            payloads = Payloads(codec, read_sound(aiff_of_gsm(data) if suffix == "gsm" else data, decoder))
        except BadRecording as error:
            raise Damaged("its sound is damaged") from error
    if not payloads.data:
        raise Damaged("its sound is empty")
    if payloads.milliseconds > LONGEST * 1000:
        raise Damaged(f"its sound is longer than {LONGEST / 60:.0f} minutes")
    return payloads


def aiff_of_gsm(data: bytes) -> bytes:
    """Bare GSM 06.10 frames in an AIFF-C, which says what they are: a decoder is not asked to guess. Raises Damaged."""
    if len(data) % _GSM_FRAME or any(data[at] >> 4 != 0xD for at in range(0, len(data), _GSM_FRAME)):
        raise Damaged("its sound is damaged")
    frames = len(data) // _GSM_FRAME
    common = struct.pack(">hIh", 1, frames * _GSM_SAMPLES, 16) + _RATE_8000 + b"GSM \x00\x00"
    sound = bytes(8) + data + bytes(len(data) % 2)
    body = (
        b"AIFC" + b"FVER" + struct.pack(">II", 4, 0xA2805140)
        + b"COMM" + struct.pack(">I", len(common)) + common
        + b"SSND" + struct.pack(">I", 8 + len(data)) + sound
    )  # fmt: skip
    return b"FORM" + struct.pack(">I", len(body)) + body
