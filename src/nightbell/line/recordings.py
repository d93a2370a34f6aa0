"""A practice's own recordings: kept as files by content, which the phone plays by the hash that a plan names."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import transaction

from nightbell.core.config import load
from nightbell.core.durable import remove_file, write_file
from nightbell.flow.clips import LANGUAGES, manifest
from nightbell.flow.hours import Kind
from nightbell.flow.plan import LOCKED, MENU_KEYS, BadPlan, Plan, greeting_of
from nightbell.line.errors import BadClip
from nightbell.line.models import Clip, Draft, Source, TryNumber, Version
from nightbell.line.state import audited, lock
from nightbell.people.access import Actor, NotFound, demand, write
from nightbell.people.roles import Act
from nightbell.store.models import Flag

if TYPE_CHECKING:  # it loads numpy, which who only reads plans need not wait for
    from nightbell.flow.studio import Finished

NAME, GREETING, KEY = "practice-name", 60.0, 12.0
LONGEST_NAME = 6.0
MOST_WORDS = 2000
UNNAMED = timedelta(minutes=10)  # a younger file may be about to get its row
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def longest(clip: str) -> float:
    """Seconds that a recording in this place may have. Raises BadClip for a place that does not exist."""
    if clip in LOCKED:
        raise BadClip(
            "The recording was not kept",
            "the 911 words are said as they are",
            "record the greeting after them",
        )
    if clip == NAME:
        return LONGEST_NAME
    if clip in {greeting_of(kind) for kind in Kind}:
        return GREETING
    if clip in {f"own-key-{key}" for key in MENU_KEYS}:
        return KEY
    if clip not in manifest().longest:
        raise BadClip(
            "The recording was not kept", f"there is no place {clip[:40]!r}", "choose one of the list"
        )
    return manifest().longest[clip]


def keep_clip(
    actor: Actor, clip: str, language: str, finished: Finished, source: str, words: str = ""
) -> Clip:
    """Store a recording; callers hear it once a published plan names it. Raises BadClip, OSError (disk full).

    source: 'browser', 'upload', 'speech' or 'phone'; words: what it says, where that is known.
    """
    demand(actor, Act.EDIT_LINE)
    if source not in Source.values or len(words) > MOST_WORDS:
        raise BadClip("The recording was not kept", "its origin or text is odd", "choose from the list")
    sha256 = store(clip, language, finished)
    with transaction.atomic():
        return enter(actor, clip, language, sha256, finished.seconds, source, words)


def store(clip: str, language: str, finished: Finished) -> str:
    """The file of a recording, durably, before any row names it. Returns its SHA-256. Raises BadClip, OSError."""
    what = "The recording was not kept"
    if language not in LANGUAGES:
        raise BadClip(what, "its language is not known", "choose from the list")
    if finished.seconds > longest(clip):
        raise BadClip(
            what,
            f"it lasts {finished.seconds:.1f} s, and {longest(clip):.0f} s are the most here",
            "say it shorter",
        )
    sha256 = hashlib.sha256(finished.wav).hexdigest()
    write_file(_file(sha256), finished.wav)
    return sha256


def enter(
    actor: Actor,
    clip: str,
    language: str,
    sha256: str,
    seconds: float,
    source: str,
    words: str,
    message: str = "",
) -> Clip:
    """The row of a stored recording, with its audit row, last in the caller's transaction. message: it came as that.

    Raises OSError when its file went meanwhile.
    """
    made, fresh = Clip.objects.get_or_create(
        practice_id=actor.practice, clip=clip, language=language, sha256=sha256,
        defaults={
            "seconds": seconds, "words": words, "source": source, "made_at": actor.now, "made_by": actor.user,
        },
    )  # fmt: skip
    _file(sha256).stat()
    if fresh:
        write(actor, "line:clip", message, detail={"clip": f"{language}/{clip}", "sha256": sha256})
    return made


def delete_clip(actor: Actor, clip_id: str) -> bool:
    """Take a recording away, with the numbers that it came from and its file. False: a version or the draft names it,
    so it stays. Raises NotFound."""
    demand(actor, Act.EDIT_LINE)
    with transaction.atomic():
        lock(actor.user.practice, actor.now)
        found = Clip.objects.filter(practice_id=actor.practice, pk=clip_id).first()
        if found is None:
            raise NotFound(
                "There is no such recording", "it is not your practice's, or it is gone", "record it"
            )
        if _planned(found.sha256, actor.practice):
            return False
        TryNumber.objects.filter(kept=found).delete()
        found.delete()
        named = f"{found.language}/{found.clip}"
        audited(actor, "line:clip_removed", {"clip": named, "sha256": found.sha256})
    remove_unnamed(found.sha256)
    return True


def remove_unnamed(sha256: str) -> bool:
    """Remove the file of a recording unless somebody's row or plan names it. Returns whether it went."""
    if Clip.objects.filter(sha256=sha256).exists() or _planned(sha256):
        return False
    remove_file(_file(sha256))
    return True


def sweep(now: datetime) -> int:
    """Remove the files that nothing names: a worker died after it wrote one. Returns how many went."""
    before, gone = (now - UNNAMED).timestamp(), 0
    for path in (load().home / "phone" / "clips").glob("*"):
        if _SHA256.match(path.name) and path.stat().st_mtime < before:
            gone += remove_unnamed(path.name)
    return gone


def _planned(sha256: str, practice_id: str = "") -> bool:
    """Whether a version or draft names it, also a damaged one; practice_id '': anybody's."""
    whose = {"practice_id": practice_id} if practice_id else {}
    if any(model.objects.filter(plan__contains=sha256, **whose).exists() for model in (Version, Draft)):
        return True
    return not practice_id and Flag.objects.filter(name__startswith="clips:", value__contains=sha256).exists()


def clips(actor: Actor) -> list[Clip]:
    """All recordings of the practice, newest first."""
    demand(actor, Act.VIEW_LINE)
    return list(Clip.objects.filter(practice_id=actor.practice).select_related("made_by").order_by("-id"))


def clip_bytes(who: Actor | str, sha256: str) -> bytes:
    """The WAV of a recording. who: an actor, or a practice id. Raises NotFound unless that practice has it."""
    if isinstance(who, Actor):
        demand(who, Act.VIEW_LINE)
    practice = who.practice if isinstance(who, Actor) else who
    missing = NotFound(
        "There is no such recording", "it is not your practice's, or its file is gone", "record it"
    )
    if not _SHA256.match(sha256) or not Clip.objects.filter(practice_id=practice, sha256=sha256).exists():
        raise missing
    try:
        return _file(sha256).read_bytes()
    except OSError as error:
        raise missing from error


def seconds(practice_id: str, plan: Plan) -> dict[str, float]:
    """How long the plan's own recordings are, by content hash; without those whose file is gone."""
    wanted = {content for content in plan.clips.values() if _SHA256.match(content)}
    found = Clip.objects.filter(practice_id=practice_id, sha256__in=wanted).values_list("sha256", "seconds")
    return {sha256: length for sha256, length in found if _file(sha256).exists()}


def check_clips(practice_id: str, plan: Plan) -> None:
    """Raises BadPlan: a recording for no known place, or one that is not the practice's."""
    for named in plan.clips:
        try:
            longest(named.partition("/")[2])
        except BadClip as error:
            raise BadPlan(error.why, "take it out") from error
    wanted = {content for content in plan.clips.values() if _SHA256.match(content)}
    found = Clip.objects.filter(practice_id=practice_id, sha256__in=wanted).values_list("sha256", flat=True)
    if wanted - set(found):
        raise BadPlan("it names a recording that is not your practice's", "record it again")


def _file(sha256: str) -> Path:
    if not _SHA256.match(sha256):
        raise ValueError("not a content hash")
    return load().home / "phone" / "clips" / sha256
