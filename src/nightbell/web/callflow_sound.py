"""The sound of a line for the pages: clips as WAV, and what a caller hears now as one piece.

DECODER and SPEAKER are set by the server's wiring; without them a practice can still use our voices.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable

from nightbell.core.capture import Codec
from nightbell.core.sound import Decoder, Speaker
from nightbell.flow.clips import CLIPS, LANGUAGES, manifest
from nightbell.flow.plan import Plan
from nightbell.sip import g711
from nightbell.web.callflow_words import BUILTIN

DECODER: Decoder | None = None
SPEAKER: Speaker | None = None

RATE = 8000
_HEADER = 44


class NoSuchClip(LookupError):
    """Neither packaged nor the practice's own."""


def packaged(name: str) -> bytes:
    """The PCM16 of a packaged clip ('en/ID', 'tone'). Raises NoSuchClip."""
    if f"{name}.ulaw" not in manifest().hashes:
        raise NoSuchClip(name)
    return g711.decode((CLIPS / f"{name}.ulaw").read_bytes(), Codec.PCMU)


def mark(name: str, plan: Plan) -> str:
    """What a clip's address carries, so that a browser may keep it: the content hash, cut to 16 digits.

    '' for a clip that is not there.
    """
    content = plan.clips.get(name, "")
    if content.startswith(BUILTIN):
        name = f"{name.partition('/')[0]}/{content.removeprefix(BUILTIN)}"
    elif content:
        return content[:16]
    return manifest().hashes.get(f"{name}.ulaw", "")[:16]


def pcm(name: str, plan: Plan, own: Callable[[str], bytes]) -> bytes:
    """The PCM16 of a resolved clip, pause or tone. own: the WAV of a content hash. Raises NoSuchClip."""
    if name.startswith("~"):
        return bytes(16 * int(name[1:]))
    content = plan.clips.get(name, "")
    if content.startswith(BUILTIN):
        return packaged(f"{name.partition('/')[0]}/{content.removeprefix(BUILTIN)}")
    return own(content)[_HEADER:] if content else packaged(name)


def wav(data: bytes) -> bytes:
    """PCM16 mono at 8000 Hz with its header."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, RATE * 2, 2, 16)
    head = struct.pack("<4sI4s", b"RIFF", 36 + len(data), b"WAVE")
    return head + form + struct.pack("<4sI", b"data", len(data)) + data


def together(names: Iterable[str], plan: Plan, own: Callable[[str], bytes]) -> bytes:
    """Resolved clips one after the other, as one WAV. Raises NoSuchClip."""
    return wav(b"".join(pcm(name, plan, own) for name in names))


def etag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:16]}"'


def known_language(text: str, among: Iterable[str] = LANGUAGES) -> str:
    """The language named in an address, or the first one."""
    languages = tuple(among)
    return text if text in languages else languages[0]
