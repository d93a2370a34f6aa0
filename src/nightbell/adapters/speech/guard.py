"""What to believe of a recogniser that never says "I don't know". Pure.

Whisper fills silence and noise with sentences from its training data and may run in circles. What
it certainly made up is dropped; what is doubtful is kept with a low confidence, for a person to check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from nightbell.core.notice import UNHEARD, Word

QUIET = -55.0  # dBFS: below it nobody speaks on a telephone line
DOUBTFUL = 0.2  # the confidence of words that were heard in circles
_NO_SPEECH, _WEAK, _HOPELESS = 0.6, -0.7, -1.4
_GUESSED = 0.25  # mean confidence below which words mislead more than they help
_CIRCLES = 6  # so often in a row a phrase is not said by a person
_LONGEST_CIRCLE = 8  # words

# Sentences that the model says into silence; believed only when the sound speaks for them.
_PHANTOMS = frozenset(
    """thank you|thanks for watching|thank you for watching|thank you so much for watching|you|bye|bye bye
    |so|okay|please subscribe|subscribe|i'll see you next time|see you next time|the end|silence|music
    |gracias|gracias por ver el video|subtítulos realizados por la comunidad de amara org|suscríbete|adiós""".replace(
        "\n", ""
    )
    .replace("    ", "")
    .split("|")
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """One segment as the model gave it.

    weight: mean log probability of its tokens; no_speech: probability 0 to 1 that nobody spoke;
    loudness: dBFS of its loudest tenth of a second.
    """

    words: tuple[Word, ...]
    weight: float
    no_speech: float
    loudness: float


def believe(stretches: Iterable[Stretch], length: float) -> tuple[Word, ...]:
    """The words to keep, in order, their times rising and within `length` seconds."""
    kept = [word for stretch in stretches if not made_up(stretch) for word in readable(stretch)]
    return in_order(out_of_circles(kept), length)


def readable(stretch: Stretch) -> tuple[Word, ...]:
    """The words, or one mark for all where the model only guessed: a person must listen there."""
    if not stretch.words:
        return ()
    mean = sum(word.confidence for word in stretch.words) / len(stretch.words)
    if mean >= _GUESSED or stretch.weight >= _WEAK:
        return stretch.words
    return (Word(UNHEARD, stretch.words[0].start, stretch.words[-1].end, 0.0),)


def made_up(stretch: Stretch) -> bool:
    """Whether nobody can have said this."""
    if stretch.loudness < QUIET:
        return True
    if stretch.no_speech > _NO_SPEECH and stretch.weight < _WEAK:
        return True
    weak = stretch.no_speech > 0.3 or stretch.weight < _WEAK
    return weak and (stretch.weight < _HOPELESS or _plain(stretch.words) in _PHANTOMS)


def _plain(words: Sequence[Word]) -> str:
    return " ".join(re.sub(r"[^\w']+", " ", " ".join(word.text for word in words).lower()).split())


def out_of_circles(words: Sequence[Word]) -> list[Word]:
    """A phrase repeated without end is kept twice, with low confidence: something was there."""
    texts = [re.sub(r"\W", "", word.text.lower()) for word in words]
    out: list[Word] = []
    at = 0
    while at < len(words):
        size, times = _circle(texts, at)
        if times < _CIRCLES:
            out.append(words[at])
            at += 1
            continue
        twice = words[at : at + 2 * size]
        out += [replace(word, confidence=min(word.confidence, DOUBTFUL)) for word in twice]
        at += size * times
    return out


def _circle(texts: Sequence[str], at: int) -> tuple[int, int]:
    """How many words the phrase has that repeats from here on, and how often it is said."""
    best = (1, 1)
    for size in range(1, _LONGEST_CIRCLE + 1):
        phrase, times = texts[at : at + size], 1
        while texts[at + times * size : at + (times + 1) * size] == phrase:
            times += 1
        if times >= _CIRCLES and times * size > best[0] * best[1]:
            best = (size, times)
    return best


def in_order(words: Iterable[Word], length: float) -> tuple[Word, ...]:
    """Times made to rise and to stay within the message; empty words left out."""
    out, before = [], 0.0
    for word in words:
        text = word.text.strip()
        if not text:
            continue
        start = min(max(word.start, before), length)
        end = min(max(word.end, start), length)
        confidence = min(max(word.confidence, 0.0), 1.0)
        out.append(Word(text, round(start, 3), round(end, 3), round(confidence, 3)))
        before = start
    return tuple(out)
