"""What callers hear, as encoded frames: packaged clips, pauses, and a practice's own recordings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from nightbell.core.capture import Codec
from nightbell.core.errors import NightbellError
from nightbell.flow.clips import CLIPS, manifest
from nightbell.phone import wav
from nightbell.sip import codecs

Frames = tuple[bytes, ...]
OWN_KEPT = 256  # recordings of practices whose frames are kept at the most, by codec


class ClipMissing(NightbellError):
    """A clip that the flow needs is not there or not what its hash says."""


@cache
def packaged(name: str, codec: Codec) -> Frames:
    """Frames of a packaged clip ('en/goodbye', 'tone'), read, checked and encoded once. Raises ClipMissing."""
    file = f"{name}.ulaw"
    wanted = manifest().hashes.get(file)
    if wanted is None:
        raise ClipMissing(f"the sound {name!r}", "it is not in the package")
    data = (CLIPS / file).read_bytes()
    if hashlib.sha256(data).hexdigest() != wanted:
        raise ClipMissing(f"the sound {name!r}", "its file was changed", "install Nightbell again")
    return wav.frames(wav.from_law(data, Codec.PCMU, codec), codec)


@cache
def pause(milliseconds: int, codec: Codec) -> Frames:
    """Silence, in whole frames."""
    return (codecs.silence(codec),) * max(1, milliseconds // 20)


@lru_cache(OWN_KEPT)
def own_clip(path: Path, sha256: str, codec: Codec) -> Frames:
    """Frames of a practice's own recording, by content hash. Raises ClipMissing, BadWav."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ClipMissing(
            "a practice's own recording", f"its file cannot be read ({error.strerror})"
        ) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ClipMissing("a practice's own recording", "its content is not what its name says")
    return wav.frames(wav.parse_wav(data, sha256, codec), codec)


@dataclass(frozen=True, slots=True)
class Voice:
    """Finds the frames of a line's clips. folder: the phone's clips; own: 'en/ID' to SHA-256 or 'builtin:ID'.

    An own recording that is missing or broken falls back to the packaged one: words must be heard.
    """

    folder: Path
    own: Mapping[str, str]

    def frames(self, clips: Sequence[str], codec: Codec) -> list[bytes]:
        """The frames of a run, in order."""
        out: list[bytes] = []
        for clip in clips:
            out += pause(int(clip[1:]), codec) if clip.startswith("~") else self._clip(clip, codec)
        return out

    def _clip(self, clip: str, codec: Codec) -> Frames:
        own = self.own.get(clip, "")
        if own:
            try:
                if own.startswith("builtin:"):
                    return packaged(f"{clip[:2]}/{own[8:]}", codec)
                return own_clip(self.folder / own, own, codec)
            except NightbellError:
                pass  # heard in our words rather than not at all; health counts missing files
        try:
            return packaged(clip, codec)
        except ClipMissing:
            # Words that only the practice has, and their file is gone: the rest of the call must be heard.
            return packaged(f"{clip[:2]}/{_in_place_of(clip[3:])}", codec)


def _in_place_of(name: str) -> str:
    """Ours for what only a practice can say. Raises ClipMissing for what nobody can."""
    if name == "practice-name":
        return "practice-fallback"
    if name.startswith("own-greeting-"):
        return f"greeting-{name.removeprefix('own-greeting-')}"
    if name.startswith("own-key-"):
        return "menu-routine"
    raise ClipMissing(f"the sound {name!r}", "it is not in the package")


def warm(codec: Codec = Codec.PCMU) -> int:
    """Read, check and encode every packaged clip now, not while a caller waits. Returns how many there are.

    G.711 takes a tenth of a second and G.722 half of one, Opus five to ten: there each clip is encoded when it is
    first asked for, which takes a hundredth of its length.
    """
    names = [file.removesuffix(".ulaw") for file in manifest().hashes]
    for name in names:
        packaged(name, codec)
    return len(names)
