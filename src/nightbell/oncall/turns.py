"""What a dialogue by telephone is made of: events in, actions out, and a state between. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

ME, PATIENT = "me", "patient"  # the person of ours, and whom they are brought together with
KEY_S = 10.0  # how long a menu waits for a key
DIGIT_S = 8.0  # between two digits
BYE = "bye"  # the place in which the last words are said


@dataclass(frozen=True, slots=True)
class State:
    """Where a dialogue is. place: one word; left: how often the same is asked again; digits: keyed so far; owned: they
    have the message; then: what follows on what is being asked of the worker; tries: of ringing the patient; heard: of
    the patient's side, that it was greeted; agreed: the patient, to be recorded, and that is on record."""

    place: str
    left: int = 1
    digits: str = ""
    owned: bool = False
    then: str = ""
    tries: int = 0
    heard: bool = False
    agreed: bool = False

    def at(self, place: str, **more: Any) -> State:
        """The same person elsewhere, where everything may be asked anew."""
        changed: dict[str, Any] = {"place": place, "left": 1, "digits": "", "then": ""} | more
        return replace(self, **changed)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a call. opening: the first words, clips with or without their language; listens: the practice lets
    messages be heard by telephone, and this one has sound; connects: the patient can be rung; passes: there may be somebody after them; choices: how many
    colleagues may be chosen from; shift: the words that say when a shift begins and ends; running: it has begun; records: the
    practice has calls with patients recorded, where the patient agrees."""

    opening: tuple[str, ...] = ()
    listens: bool = False
    connects: bool = False
    passes: bool = True
    choices: int = 0
    shift: tuple[str, ...] = ()
    running: bool = False
    records: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    side: str = ME


@dataclass(frozen=True, slots=True)
class Key:
    key: str
    side: str = ME


@dataclass(frozen=True, slots=True)
class Silence:
    """All was said, and no key came in the time that was given; of the patient's side: all was said."""

    side: str = ME


@dataclass(frozen=True, slots=True)
class Ended:
    why: str
    side: str = ME


@dataclass(frozen=True, slots=True)
class Joined:
    pass


@dataclass(frozen=True, slots=True)
class Parted:
    pass


@dataclass(frozen=True, slots=True)
class Told:
    """What the worker answers to a `Do`."""

    what: str
    answer: str


Event: TypeAlias = Answered | Key | Silence | Ended | Joined | Parted | Told


@dataclass(frozen=True, slots=True)
class Say:
    """Clips in playing order, in the person's language where they name none; '~N' is a pause in ms. wait: how many
    seconds after the last word a `Silence` follows; None: none does; cut: whether a key cuts it short;
    instead: of all that is being said to them."""

    clips: tuple[str, ...]
    wait: float | None = KEY_S
    side: str = ME
    cut: bool = True
    instead: bool = False


@dataclass(frozen=True, slots=True)
class Do:
    """Something that the worker does; it answers with a `Told` of the same name."""

    what: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class HangUp:
    side: str = ME


Action: TypeAlias = Say | Do | HangUp


@dataclass(frozen=True, slots=True)
class Turn:
    state: State
    actions: tuple[Action, ...] = ()


def say(state: State, *clips: str, wait: float | None = KEY_S, also: tuple[Action, ...] = ()) -> Turn:
    """These words, and what is to be done beside them."""
    return Turn(state, (*also, Say(clips, wait)))


def bye(state: State, *clips: str, also: tuple[Action, ...] = ()) -> Turn:
    """The last words; after them it hangs up."""
    return say(state.at(BYE), *clips, wait=0.0, also=also)


def menu(*pairs: tuple[str, str]) -> tuple[str, ...]:
    """What and by which key, one after another with pauses between."""
    clips: list[str] = []
    for words, key in pairs:
        clips += ["~300"] * bool(clips) + [words, f"press-{key}"]
    return tuple(clips)
