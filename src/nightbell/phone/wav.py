"""Sound files that a phone line can play: WAV, 8000 Hz, mono, 16-bit PCM or G.711.

Source: Microsoft RIFF/WAVE (format tags 1 PCM, 6 A-law, 7 mu-law). Anything else is refused with the
command that converts it: resampling by ourselves would be worse than what is on every machine.
"""

from __future__ import annotations

import struct
from pathlib import Path

from nightbell.core.capture import Codec
from nightbell.core.errors import NightbellError
from nightbell.phone import encode
from nightbell.sip import g711

FRAME = 160  # bytes of G.711 in 20 ms
LAWS = (Codec.PCMU, Codec.PCMA)
MAX_BYTES = 64_000_000


class BadWav(NightbellError, ValueError):
    """This file cannot be played on a phone line."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            f"the sound file {name}", why, "convert it: ffmpeg -i IN -ar 8000 -ac 1 -c:a pcm_s16le OUT.wav"
        )


def read_wav(path: Path, codec: Codec = Codec.PCMU) -> bytes:
    """The file's sound as `frames` takes it: in `codec` if that is G.711, else 16-bit PCM. Raises BadWav, OSError."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    return parse_wav(data, path.name, codec)


def parse_wav(data: bytes, name: str, codec: Codec = Codec.PCMU) -> bytes:
    """As read_wav, of bytes; `name` is for the error only."""
    if len(data) > MAX_BYTES:
        raise BadWav(name, f"it is larger than {MAX_BYTES} bytes")
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise BadWav(name, "it is not a WAV file")
    chunks = _chunks(data)
    if len(chunks.get(b"fmt ", b"")) < 16 or b"data" not in chunks:
        raise BadWav(name, "it has no format or no sound in it")
    kind, channels, rate, _bytes, _align, bits = struct.unpack_from("<HHIIHH", chunks[b"fmt "])
    if kind == 0xFFFE and len(chunks[b"fmt "]) >= 26:  # WAVE_FORMAT_EXTENSIBLE: the tag opens the sub-format
        (kind,) = struct.unpack_from("<H", chunks[b"fmt "], 24)
    if (rate, channels) != (8000, 1):
        raise BadWav(name, f"it has {rate} Hz and {channels} channels, a phone line has 8000 and 1")
    sound = chunks[b"data"]
    if (kind, bits) == (1, 16):
        pcm = sound[: len(sound) & ~1]
        return g711.encode(pcm, codec) if codec in LAWS else pcm
    if bits == 8 and kind in (6, 7):
        return from_law(sound, Codec.PCMA if kind == 6 else Codec.PCMU, codec)
    raise BadWav(name, "it is neither 16-bit PCM nor G.711")


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """The first chunk of each name. A last chunk that claims more than there is gives what there is."""
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        chunks.setdefault(name, data[at + 8 : at + 8 + size])
        at += 8 + size + (size & 1)
    return chunks


def from_law(sound: bytes, law: Codec, codec: Codec) -> bytes:
    """G.711 as `frames` takes it for `codec`."""
    return g711.transcode(sound, law, codec) if codec in LAWS else g711.decode(sound, law)


def frames(sound: bytes, codec: Codec) -> tuple[bytes, ...]:
    """Frames of 20 ms, the last one filled with silence. sound: in `codec` if that is G.711, else 16-bit PCM."""
    if codec not in LAWS:
        return encode.frames(sound, codec)
    missing = -len(sound) % FRAME
    sound += g711.silence(missing, codec)
    return tuple(sound[at : at + FRAME] for at in range(0, len(sound), FRAME))
