"""The sounds of a line for a provider, which fetches them by content and may keep them: nothing of a patient is in them.

A number that is read back is a run of single digits: no address names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from django.http import Http404, HttpRequest, HttpResponse

from nightbell.core.capture import Codec
from nightbell.core.config import load
from nightbell.flow.clips import CLIPS, manifest
from nightbell.sip import g711
from nightbell.web.callflow_sound import wav
from nightbell.web.callflow_words import BUILTIN
from nightbell.web.doors import Door, allows

LONGEST_PAUSE, STEP = 2000, 10
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@cache
def _by_content() -> dict[str, Path]:
    return {sha256: CLIPS / file for file, sha256 in manifest().hashes.items()}


def address(base: str, clip: str, own: Mapping[str, str]) -> str:
    """Where a resolved clip ('en/ID', '~N', 'tone') is fetched. own: the plan's recordings, by name. '' for none.

    As on the phone: a recording whose file is gone is heard in our words rather than not at all.
    """
    if clip.startswith("~"):
        length = min(LONGEST_PAUSE, int(clip[1:]) // STEP * STEP)
        return f"{base}/hooks/pause/{length}.wav" if length else ""
    content = own.get(clip, "")
    if content.startswith(BUILTIN):
        content = manifest().hashes.get(f"{clip[:2]}/{content.removeprefix(BUILTIN)}.ulaw", "")
    elif content and not (load().home / "phone" / "clips" / content).exists():
        content = ""
    content = content or _packaged(clip)
    return f"{base}/hooks/clip/{content}.wav" if content else ""


def _packaged(clip: str) -> str:
    hashes = manifest().hashes
    return hashes.get(f"{clip}.ulaw") or hashes.get(f"{clip[:3]}{_in_place_of(clip[3:])}.ulaw", "")


def _in_place_of(name: str) -> str:
    """Ours for what only a practice can say."""
    if name == "practice-name":
        return "practice-fallback"
    if name.startswith("own-greeting-"):
        return f"greeting-{name.removeprefix('own-greeting-')}"
    return "menu-routine" if name.startswith("own-key-") else ""


@allows(Door.OPEN)
def clip(request: HttpRequest, sha256: str) -> HttpResponse:
    """One clip by its content."""
    if not _SHA256.match(sha256):
        raise Http404
    packaged = _by_content().get(sha256)
    if packaged is not None:
        return _sound(wav(g711.decode(packaged.read_bytes(), Codec.PCMU)))
    try:
        return _sound((load().home / "phone" / "clips" / sha256).read_bytes())
    except OSError as error:
        raise Http404 from error


@allows(Door.OPEN)
def pause(request: HttpRequest, length: int) -> HttpResponse:
    """Silence of so many milliseconds."""
    if length > LONGEST_PAUSE or length % STEP:
        raise Http404
    return _sound(wav(bytes(16 * length)))


def _sound(data: bytes) -> HttpResponse:
    response = HttpResponse(data, content_type="audio/wav")
    response["Cache-Control"] = "public, max-age=31536000, immutable"
    return response
