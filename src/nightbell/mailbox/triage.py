"""How urgent a message is, and why: pure decisions on what was pressed and what was heard.

The key decides first and for good; words may raise, never lower; what cannot be trusted is for a
person to review. A reason names positions in the transcript, so that the page can underline the words
and play them. Reasons describe a patient's words: they are PHI like the transcript.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from nightbell.core.notice import UNHEARD, Word
from nightbell.mailbox.redflags import DENIED, FLAGS, MASK, OWN_DENIAL

Urgency = Literal["routine", "review", "urgent"]
Kind = Literal["key", "red_flag", "denied", "unsure", "short", "empty", "not_transcribed"]
_RANK: dict[Urgency, int] = {"routine": 0, "review": 1, "urgent": 2}

_FEW_WORDS = 4
_TRUSTED, _DOUBTED = 0.6, 0.35  # confidence: of the whole on average; of a single word
_DOUBTED_SHARE = 0.3
_REACH = 200  # characters before a sign in which it may be denied

_DIGIT = r"(?:\d+|zero|oh|one|two|three|four|five|six|seven|eight|nine|cero|uno|dos|tres|cuatro|cinco|seis|siete|ocho|nueve)"
_NUMBER = re.compile(
    rf"\b{_DIGIT}(?:[ ,.;-]+{_DIGIT}){{5,}}\b|\b\d{{7,}}\b|\b\d{{3}}[ -]+\d{{3}}[ -]+\d{{4}}\b"
)


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that speaks for an urgency.

    label: the group of a sign (redflags.LABELS), '' for other kinds; start, end: seconds;
    indexes: positions of the words in the transcript.
    """

    kind: Kind
    label: str = ""
    start: float = 0.0
    end: float = 0.0
    indexes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Triage:
    """A decision with its reasons, the gravest kind first."""

    urgency: Urgency
    reasons: tuple[Reason, ...] = ()


def at_intake(key_urgent: bool) -> Triage:
    """Before anything was transcribed: the key alone."""
    return Triage("urgent", (Reason("key"),)) if key_urgent else Triage("routine")


def triage(
    key_urgent: bool, words: Sequence[Word] | None, language: str = "en", unsure: bool = False
) -> Triage:
    """Decide after transcription. words: None when it failed for good; unsure: the engine's own doubt.

    `language` is that of the transcript; signs are looked for in all languages whatever it says.
    """
    reasons: list[Reason] = [Reason("key")] if key_urgent else []
    if words is None:
        reasons.append(Reason("not_transcribed"))
    elif not words:
        reasons.append(Reason("empty"))
    else:
        reasons += signs(words)
        reasons += [
            Reason("unsure", "", word.start, word.end, (index,))
            for index, word in enumerate(words)
            if word.text == UNHEARD
        ]
        if unsure or doubtful(words):
            reasons.append(Reason("unsure"))
        if len(words) < _FEW_WORDS:
            reasons.append(Reason("short"))
    kinds = {reason.kind for reason in reasons}
    if kinds & {"key", "red_flag"}:
        return Triage("urgent", tuple(reasons))
    return Triage("review" if reasons else "routine", tuple(reasons))


def higher(one: Urgency, other: Urgency) -> Urgency:
    """The graver of two: how a new decision meets the one in force, since triage only raises."""
    return max(one, other, key=_RANK.__getitem__)


def doubtful(words: Sequence[Word]) -> bool:
    """Whether so much was heard badly that the transcript may have missed a sign."""
    if not words:
        return True
    low = sum(1 for word in words if word.confidence < _DOUBTED)
    mean = sum(word.confidence for word in words) / len(words)
    return mean < _TRUSTED or low > _DOUBTED_SHARE * len(words)


def signs(words: Sequence[Word]) -> list[Reason]:
    """Every sign in the words, standing ones first; one that the caller denied has the kind 'denied'."""
    text, starts = _joined(words)
    text = _NUMBER.sub(lambda match: "#" * len(match[0]), text)
    spans = _spans(text)
    found: list[Reason] = []
    for (start, end, label), denied in zip(spans, _denied(text, spans), strict=True):
        indexes = tuple(range(bisect_right(starts, start) - 1, bisect_right(starts, end - 1)))
        kind: Kind = "denied" if denied else "red_flag"
        found.append(Reason(kind, label, words[indexes[0]].start, words[indexes[-1]].end, indexes))
    return sorted(_merged(found), key=lambda reason: (reason.kind != "red_flag", reason.start))


def _denied(text: str, spans: Sequence[tuple[int, int, str]]) -> Iterator[bool]:
    """Whether each find is denied ("no chest pain"); one within or after a denied one may be so too."""
    for at, (start, end, label) in enumerate(spans):
        denied = not OWN_DENIAL.match(text, start) and DENIED.search(_clause(text, start)) is not None
        yield denied
        if denied:
            # A long find may hold a second one that stands ("no bleeding, then she bled a lot").
            inside = takewhile(lambda span, end=end: span[0] < end, spans[at + 1 : at + 50])  # type: ignore[misc]
            holds = any(start < first and last <= end and name == label for first, last, name in inside)
            stop = start + len(text[start:end].split(" ", 1)[0]) if holds else end
            text = text[:start] + MASK * (stop - start) + text[stop:]


def _spans(text: str) -> list[tuple[int, int, str]]:
    """Every find with its label, overlapping ones too, in order."""
    spans = set()
    for flag in FLAGS:
        match = flag.pattern.search(text)
        while match is not None:
            spans.add((match.start(), match.end(), flag.label))
            match = flag.pattern.search(text, match.start() + 1)
    return sorted(spans)


def _joined(words: Sequence[Word]) -> tuple[str, list[int]]:
    """The words in lower case, one space between, and where in the text each begins."""
    parts: list[str] = []
    starts: list[int] = []
    at = 0
    for word in words:
        part = re.sub(r"[^\w' .,;!?-]|\s", "", word.text.lower().replace("’", "'")).lstrip("-") or "_"
        starts.append(at)
        parts.append(part)
        at += len(part) + 1
    return " ".join(parts), starts


def _clause(text: str, end: int) -> str:
    """What stands before `end` in the same clause."""
    return re.split(r"[.;!?] ", text[max(0, end - _REACH) : end])[-1]


def _merged(reasons: Sequence[Reason]) -> list[Reason]:
    """Overlapping finds of one group and kind become one."""
    out: list[Reason] = []
    for reason in sorted(reasons, key=lambda r: (r.kind, r.label, r.indexes)):
        last = out[-1] if out else None
        if (
            last
            and (last.kind, last.label) == (reason.kind, reason.label)
            and last.indexes[-1] >= reason.indexes[0]
        ):
            indexes = tuple(sorted({*last.indexes, *reason.indexes}))
            out[-1] = Reason(last.kind, last.label, last.start, max(last.end, reason.end), indexes)
        else:
            out.append(reason)
    return out
