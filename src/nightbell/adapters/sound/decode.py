"""Uploaded sound files to samples, behind the port `core.sound.Decoder`.

libsndfile reads WAV, FLAC, Ogg (Vorbis, Opus), MP3, AIFF, AU and CAF in a caged child. What telephones record
(M4A, 3GP, AAC, WebM) is read by the program ffmpeg where it is installed, in the same cage. The format is
told from the first bytes, by us: no program is asked to guess.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from nightbell.adapters.sound import cage, child
from nightbell.core.sound import MOST_BYTES, MOST_RATE, MOST_SECONDS, BadSound, Decoded, SoundUnavailable

READABLE = "WAV, FLAC, Ogg, Opus, MP3, AIFF, AU or CAF"
_LINE = 200  # bytes of the child's first line, at most
_WHAT = "the sound file"


class SoundFileDecoder:
    """Implements `core.sound.Decoder`. search: where programs are looked for, like PATH; seconds: per file."""

    def __init__(self, search: str | None = None, *, seconds: float = 20.0) -> None:
        self._search, self._seconds = search, seconds

    def decode(self, data: bytes, seconds: float = MOST_SECONDS) -> Decoded:
        """See `core.sound.Decoder`."""
        if len(data) > MOST_BYTES:
            raise BadSound(
                _WHAT,
                f"it is larger than {MOST_BYTES // 1_000_000} MB",
                "save it as MP3, or cut it to length",
            )
        kind = container(data)
        if kind == "":
            raise _unreadable()
        try:
            read = self._by_sndfile if kind == "sndfile" else self._by_ffmpeg
            return read(data, kind, seconds)
        except cage.Ended as ended:
            raise _ended(ended.how, seconds) from ended
        except OSError as error:
            raise SoundUnavailable(
                "the sound decoder",
                f"its process cannot be started ({error.strerror})",
                "try again in a minute",
            ) from error

    def _by_sndfile(self, data: bytes, kind: str, seconds: float) -> Decoded:
        most = round(seconds * MOST_RATE) * 4 + _LINE
        arguments = [f"{seconds:g}"]
        answer = cage.run_module(
            "nightbell.adapters.sound.child", arguments, data, seconds=self._seconds, most=most
        )
        line, _, samples = answer.partition(b"\n")
        told = json.loads(line)
        if "bad" in told:
            raise _bad(told["bad"], seconds)
        return Decoded(samples, int(told["rate"]))

    def _by_ffmpeg(self, data: bytes, demuxer: str, seconds: float) -> Decoded:
        search = os.environ.get("PATH", os.defpath) if self._search is None else self._search
        program = shutil.which("ffmpeg", path=search)
        if program is None:
            raise BadSound(
                _WHAT,
                "this kind of file (M4A, 3GP, AAC or WebM) cannot be read here",
                f"save it as {READABLE}; installing ffmpeg on the server adds M4A and the others",
            )
        most, arguments = round((seconds + 1) * MOST_RATE) * 4, ffmpeg_arguments(demuxer, seconds)
        samples = cage.run(Path(program), arguments, data, seconds=self._seconds, most=most + MOST_RATE)
        if len(samples) > seconds * MOST_RATE * 4:
            raise _bad("long", seconds)
        if not samples:
            raise _unreadable()
        return Decoded(samples[: len(samples) // 4 * 4], MOST_RATE)


def ffmpeg_arguments(demuxer: str, seconds: float = MOST_SECONDS) -> list[str]:
    """The first sound of standard input to float32 mono, no more than a second past the limit.

    The input is opened by name, not as a pipe: most telephones write the index of an M4A at its end, and
    that needs seeking. The demuxer is given, so that no playlist can name another file.
    """
    return [
        *("-nostdin", "-v", "quiet", "-threads", "1", "-protocol_whitelist", "file", "-f", demuxer),
        *("-i", "/proc/self/fd/0", "-map", "0:a:0", "-vn", "-sn", "-dn", "-t", f"{seconds + 1:g}"),
        *("-ac", "1", "-ar", str(MOST_RATE), "-f", "f32le", "pipe:1"),
    ]


def container(data: bytes) -> str:
    """'sndfile', the name of ffmpeg's demuxer, or '' for what is not sound as far as we know."""
    start = data[:4]
    if start in (b"RIFF", b"RF64") and data[8:12] == b"WAVE":
        return "sndfile"
    if start == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return "sndfile"
    if start in (b"fLaC", b"OggS", b".snd", b"caff") or start[:3] == b"ID3":
        return "sndfile"
    if data[4:8] == b"ftyp":
        return "mov"
    if start == b"\x1a\x45\xdf\xa3":
        return "matroska"
    return _by_frame(data)


def _by_frame(data: bytes) -> str:
    """MPEG sound without a header: eleven set bits, then the layer, 0 of which means ADTS (ISO 13818-7)."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return ""
    if data[1] & 0x06 == 0:
        return "aac" if data[1] & 0xF0 == 0xF0 else ""
    return "sndfile" if data[2] & 0xF0 != 0xF0 and data[2] & 0x0C != 0x0C else ""


def _unreadable() -> BadSound:
    return BadSound(_WHAT, "it is not a sound file, or it is damaged", f"bring it as {READABLE}")


def _bad(reason: object, seconds: float) -> BadSound:
    if reason == "long":
        return BadSound(_WHAT, f"it is longer than {seconds:g} seconds", "cut it to length and try again")
    if reason == "short":
        return BadSound(_WHAT, "it ends too early: a part is missing", "save or upload it again")
    if reason == "rate":
        return BadSound(
            _WHAT,
            f"its sample rate is not between {child.SLOWEST} and {child.FASTEST} Hz",
            "save it with 44100 or 48000 Hz",
        )
    return _unreadable()


def _ended(how: cage.End, seconds: float) -> BadSound | SoundUnavailable:
    if how is cage.End.REFUSED:
        return SoundUnavailable(
            "the sound decoder",
            "this system cannot lock it in (it needs Landlock and seccomp)",
            "use Linux 5.13 or newer with landlock in its LSM list",
        )
    if how is cage.End.BROKEN:
        return SoundUnavailable(
            "the sound decoder", "the library soundfile cannot be loaded", "run script/setup again"
        )
    if how is cage.End.TIMEOUT:
        return BadSound(_WHAT, "reading it took too long and was stopped", f"save it anew as {READABLE}")
    return _bad("long", seconds) if how is cage.End.TOO_MUCH else _unreadable()
