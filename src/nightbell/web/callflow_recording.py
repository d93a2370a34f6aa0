"""A practice's own recordings: the part of a panel that shows one, and the way from a file or a text to a clip."""

from __future__ import annotations

import threading
import wave
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

from nightbell.core.sound import MOST_LETTERS, MOST_SECONDS, BadSound, Decoded, SoundUnavailable
from nightbell.flow.clips import manifest
from nightbell.line import recordings
from nightbell.line import service as lines
from nightbell.line.models import Clip, TryNumber
from nightbell.people.access import NotFound
from nightbell.people.roles import Act
from nightbell.web import callflow, callflow_clips, callflow_sound
from nightbell.web.callflow_data import Desk
from nightbell.web.callflow_words import BUILTIN, seconds_words
from nightbell.web.format import clock_time
from nightbell.web.wave import bars

if TYPE_CHECKING:
    from nightbell.flow.studio import Finished
    from nightbell.web.callflow_page import Place, Trouble

SOURCES = {
    "browser": "Recorded here", "upload": "Uploaded", "speech": "Spoken by the machine", "phone": "Recorded by phone",
}  # fmt: skip
_HEADINGS = {
    "practice-name": "Your practice’s name", "own-key": "Your own words", "own-greeting": "A whole greeting of your own",
}  # fmt: skip
_HINTS = {
    "practice-name": "Your practice's name alone. It follows “You have reached”.",
    "own-key": "Only the choice, such as: For the vaccine clinic. We add “press” and the key, so it may move.",
    "own-greeting": "All of the greeting, with your name. The 911 words come before it, the menu after it.",
}
SPARE = 10.0  # seconds of silence that a file may hold besides twice what its place takes
_one_at_a_time = threading.Lock()
_LONGEST_WAIT = 30.0  # seconds


def recording(
    desk: Desk, view: callflow.View, place: Place, clip: str, trouble: Trouble | None
) -> dict[str, Any]:
    """The part for one clip in the chosen language. `used`: in the draft; `take`: just made, not yet used."""
    content = view.plan.own(clip, place.language)
    found = next(
        (one for one in desk.clips if one.sha256 == content and one.language == place.language), None
    )
    number = lines.recorded(desk.actor, clip, place.language) if desk.actor.may(Act.EDIT_LINE) else None
    take = next((one for one in desk.clips if one.id == place.take and one.clip == clip), None)
    by_phone = number.kept if number and take is None else None
    take = by_phone or take
    typed = (
        trouble.typed
        if trouble and trouble.part == "recording" and trouble.typed.get("clip") == clip
        else None
    )
    speaker = callflow_sound.SPEAKER
    return {
        "clip": clip,
        "language": place.language,
        "longest": f"{recordings.longest(clip):g}",
        "heading": _begins(clip, _HEADINGS) or "In your own voice",
        "hint": _begins(clip, _HINTS) or _hint(clip),
        "builtin": content.removeprefix(BUILTIN) if content.startswith(BUILTIN) else "",
        "builtin_words": view.book.text(f"{place.language}/{clip}") if content.startswith(BUILTIN) else "",
        "used": _shown(desk, found) if found else None,
        "take": _shown(desk, take) | _level(desk, take) if take and take.sha256 != content else None,
        "by_phone": by_phone is not None,
        "phone": _phone(desk, number) if number else None,
        "words": typed.get("words", "") if typed else found.words if found else _ours(clip, place.language),
        "errors": trouble.errors if typed and trouble else {},
        "speaks": speaker is not None and speaker.available(),
        "letters": MOST_LETTERS,
    }  # fmt: skip


def _begins(clip: str, words: dict[str, str]) -> str:
    return next((text for start, text in words.items() if clip.startswith(start)), "")


def _ours(clip: str, language: str) -> str:
    """What our own clip says there: what most will say again, for the field of the words."""
    return manifest().words[language].get(clip, "")


def _hint(clip: str) -> str:
    """For words of ours that are said anew."""
    if manifest().barge.get(clip, True):
        return "Say the same in your own voice."
    return "Say the same in your own voice, and all of it: these words are said to the end, no key cuts them short."


def _phone(desk: Desk, number: TryNumber) -> dict[str, Any] | None:
    """Where to call, while a recording is waited for; why the last one could not be used."""
    waits = waiting(number, desk.now)
    if not waits and not number.trouble:
        return None
    return {
        "waits": waits,
        "address": lines.sip_address(number.dialled),
        "until": clock_time(number.expires_at, desk.practice.zone, desk.now),
        "trouble": number.trouble,
    }


def waiting(number: TryNumber, now: datetime) -> bool:
    """Whether it can still be called and nothing came of it yet."""
    return number.kept is None and number.expires_at > now


def spoken_words(
    desk: Desk, view: callflow.View, place: Place, trouble: Trouble | None
) -> dict[str, Any] | None:
    """The recordings that the chosen step says, ours or the practice's: None where it says none."""
    said = callflow_clips.said(view).get(place.node, callflow_clips.NOTHING)
    if not said.all:
        return None
    chosen = place.clip if place.clip in said.all else ""
    return {
        "words": [_row(view, place, clip) for clip in said.words],
        "small": [_row(view, place, clip) for clip in said.small],
        "open": bool(chosen),
        "small_open": chosen in said.small,
        "own": sum(bool(view.plan.own(clip, place.language)) for clip in said.all),
        "chosen": _opened(recording(desk, view, place, chosen, trouble)) if chosen else None,
    }


def _opened(part: dict[str, Any]) -> dict[str, Any]:
    """Who chose a recording wants to make one; not any more once there is one to decide on."""
    return part | {"open": not (part["take"] or part["used"] or part["phone"])}


def _row(view: callflow.View, place: Place, clip: str) -> dict[str, Any]:
    name = f"{place.language}/{clip}"
    own = view.plan.own(clip, place.language)
    return {
        "words": view.book.texts.get(own, "") or _ours(clip, place.language),
        "seconds": f"{view.book.milliseconds(name) / 1000:.1f} s",
        "own": bool(own),
        "href": place.address(clip=clip) + f"#own-{clip}",
        "here": clip == place.clip,
    }


def _shown(desk: Desk, clip: Clip) -> dict[str, Any]:
    return {
        "id": clip.id,
        "sha256": clip.sha256,
        "words": clip.words,
        "seconds": seconds_words(clip.seconds),
        "source": SOURCES.get(clip.source, "Recorded"),
        "by": clip.made_by.name if clip.made_by else "Nightbell",
        "at": clock_time(clip.made_at, desk.practice.zone, desk.now),
        "address": f"/line/clip/{clip.language}/{clip.clip}.wav?own={clip.sha256}",
        "bars": _bars(desk, clip),
    }


def _bars(desk: Desk, clip: Clip) -> list[Any]:
    """Its wave; none when the file is gone, which the report of the draft tells."""
    try:
        return list(bars(_peaks(desk.own(clip.sha256)), clip.seconds, ()))
    except NotFound:
        return []


def _peaks(wav: bytes) -> list[int]:
    from nightbell.flow.studio import peaks  # numpy: only for who looks at recordings

    return peaks(wav, 90)


def _level(desk: Desk, clip: Clip) -> dict[str, str]:
    """How loud it is, in words, against the other prompts."""
    import numpy as np

    from nightbell.flow import studio

    try:
        wav = desk.own(clip.sha256)
    except NotFound:
        return {"level": "Its file is gone: record it again", "quiet": "yes"}
    samples = np.frombuffer(wav[44:], "<i2").astype(np.float64) / 32768
    below = studio.TARGET_LUFS - studio.loudness(samples, studio.RATE)
    if below > studio.TOLERANCE:
        return {
            "level": f"{below:.0f} dB below the other prompts: its loudest moments stand out",
            "quiet": "yes",
        }
    return {"level": "As loud as the other prompts", "quiet": ""}


@dataclass(frozen=True, slots=True)
class Brought:
    """What somebody brought: a file, or words to be spoken."""

    file: bytes
    words: str
    source: str  # 'browser', 'upload', 'speech'


def finished(brought: Brought, clip: str, language: str) -> Finished:
    """Decode or speak it, then trim and level it: one at a time in a process, for the memory that it takes.

    Raises BadSound, SoundUnavailable, BadClip.
    """
    longest = recordings.longest(clip)
    if not _one_at_a_time.acquire(timeout=_LONGEST_WAIT):
        raise SoundUnavailable(
            "recordings", "others are being made ready at this moment", "try again in a minute"
        )
    try:
        return _finished(brought, longest, language)
    finally:
        _one_at_a_time.release()


def _finished(brought: Brought, longest: float, language: str) -> Finished:
    import numpy as np

    from nightbell.flow import studio

    if brought.source == "speech":
        sound = _spoken(brought.words, language)
    else:
        sound = _decoded(brought.file, min(MOST_SECONDS, 2 * longest + SPARE))
    return studio.finish(np.frombuffer(sound.samples, np.float32), sound.rate, longest)


def _decoded(data: bytes, seconds: float) -> Decoded:
    if not data:
        raise BadSound("the recording", "there is no file", "record something, or choose a file")
    if callflow_sound.DECODER is None:
        raise SoundUnavailable("recordings", "this server cannot read sound files", "use our voice")
    return callflow_sound.DECODER.decode(data, seconds)


def _spoken(words: str, language: str) -> Decoded:
    if callflow_sound.SPEAKER is None:
        raise SoundUnavailable("recordings", "this server has no voice of its own", "record it yourself")
    import numpy as np

    with wave.open(BytesIO(callflow_sound.SPEAKER.speak(words, language))) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return Decoded((samples.astype(np.float32) / 32768).tobytes(), file.getframerate())
