"""A call flow as the machine runs it: named nodes, each with what it says and where it leads.

Seven kinds: words (Say), a question answered by a key (Ask), a number keyed in (Digits), speech recorded (Take),
the caller's own speech played back (Hear), a question to the worker (Query), and the end (End). `flow.build` makes
a graph from a practice's plan; `flow.walk` proves that every way through it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

Words = tuple[str, ...]
"""Clip ids in order: 'ID', 'ID@other' (the line's other language), '~N' (N ms of silence), 'tone', and the slots
'{practice-name}', '{caller}', '{entered}', '{number}', '{second}', '{reopen}', '{when}' that `flow.words` fills."""


class Part(StrEnum):
    """What a stretch of the recording holds."""

    MESSAGE = "message"
    NAME = "name"
    BIRTH = "dob"
    NUMBER = "number"
    REASON = "reason"
    REFILL = "refill"
    WORSE = "worse"
    MORE = "more"


class Closing(StrEnum):
    """Which words end a call."""

    PROMISE = "promise"  # of a message: what happens next, from the facts at that moment
    SILENCE = "silence"  # nobody spoke
    BUSY = "busy"  # the short form of a full system
    STATUS = "status"  # asked how far we are, left nothing
    WORSE = "worse"  # "it got worse", joined to a first message
    STUDIO = "studio"  # a recording of the practice's own, kept
    UNKEPT = "unkept"  # one that nobody kept: nothing is claimed


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a key leads and what it settles. sets: ('urgency'|'mailbox'|'language'|'callback', value) pairs;
    a value of '' makes a mark of the name alone."""

    to: str
    sets: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Say:
    """Words that ask nothing. Keys are kept for the next question, but 0 leads to `past`, or to the tone.

    sets: as in Choice, settled by coming here.
    """

    words: Words
    then: str
    past: str = ""
    sets: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """Words with keys that act while they are said. then '': wait for a key after them, else go on at once.

    rounds: what happens at the first, the second ... time without a key; wrong: the same for keys without a
    meaning ('' ignores them). quick: a short wait, since nothing is lost by going on.
    """

    words: Words
    keys: Mapping[str, Choice]
    then: str = ""
    rounds: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    quick: bool = False


@dataclass(frozen=True, slots=True)
class Digits:
    """A phone number keyed in. then: a whole number; short: one that cannot be; skip: too many tries or no keys;
    note: the mark that keeps a whole number, before anybody has said that it is right."""

    words: Words
    then: str
    short: str
    skip: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Take:
    """The tone and what the caller says after it. silent: nothing was said; limit: the time is up."""

    part: Part
    then: str
    silent: str
    limit: str
    guided: bool = False
    brief: str = ""  # where a very short one leads, '' as any other
    again: bool = False  # a new take: what was said before is kept, but this one counts


@dataclass(frozen=True, slots=True)
class Hear:
    """The caller's own words of this take, played back."""

    then: str


@dataclass(frozen=True, slots=True)
class Query:
    """Ask the worker how far the message of the keyed number is. answers: state to node; none: nothing to tell."""

    words: Words
    answers: Mapping[str, str]
    none: str


@dataclass(frozen=True, slots=True)
class End:
    """Make the capture durable, then say the closing words."""

    closing: Closing


Node = Say | Ask | Digits | Take | Hear | Query | End


@dataclass(frozen=True, slots=True)
class Graph:
    """All nodes of one call. start: the first; record: where key 0 leads from anywhere before the tone;
    trouble: words when nothing can be recorded; closing: of a call that ends before it comes to an End."""

    nodes: Mapping[str, Node]
    start: str
    record: str
    trouble: Words = ()
    closing: Closing = Closing.PROMISE
