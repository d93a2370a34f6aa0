"""Carriers that tell us of calls by webhook and record them themselves (`provider_record`): values and ports.

A hook is the pure half, which the web process asks: is this request genuine, how is this document written. A carrier
is the half that talks to the provider, for the worker alone: fetch a recording, delete it, look a call up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from nightbell.core.errors import NightbellError, TemporaryError
from nightbell.core.notice import Delivery

MOST_BYTES = 64_000_000  # of one recording: over an hour of two channels
NAMES = ("twilio", "telnyx")


class CarrierAway(TemporaryError):
    """The provider cannot be reached, is broken or not ready: the recording stays there, so try again."""


class KeyDoesNotFit(CarrierAway):
    """An encrypted recording is not opened by the keys that we have: a person puts the right one there."""


class NotThere(NightbellError):
    """The provider does not have it (any more)."""


class BadRecording(NightbellError):
    """What the provider gave is no recording that we can use; its copy is left alone, so that a person can look."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a provider that records by itself can do. silence_ends: its recording stops when nobody speaks, without
    anybody else (a speech service) listening in. None of them can play a take back, warn while it is recorded, or
    keep keys that are pressed during words."""

    silence_ends: bool


@dataclass(frozen=True, slots=True)
class Ring:
    """A call as the provider tells of it. caller, called, first: numbers as given; first: the one dialled first,
    when the call was forwarded to us, else ''; attest: as a capture's mark has it ('verified:A'), '' when not told."""

    call: str
    caller: str = ""
    called: str = ""
    first: str = ""
    attest: str = ""


@dataclass(frozen=True, slots=True)
class Pressed:
    """The end of a question: digits that were pressed; pound: the pound key ended them."""

    digits: str = ""
    pound: bool = False


@dataclass(frozen=True, slots=True)
class Spoken:
    """The end of a recording. seconds: how long it is; by: 'pound', 'hang_up' or '' (silence, or the limit)."""

    seconds: int = 0
    by: str = ""


# What a document tells the provider to do; addresses are absolute.


@dataclass(frozen=True, slots=True)
class PlayClip:
    """Play one sound."""

    url: str


@dataclass(frozen=True, slots=True)
class Gather:
    """Play sounds that a key cuts short, then wait for up to `most` keys. pound: the pound key ends them."""

    urls: tuple[str, ...]
    action: str
    seconds: int
    most: int
    pound: bool


@dataclass(frozen=True, slots=True)
class RecordCall:
    """A tone, then record until pound, `silence` seconds of it (0: for ever), or `seconds`."""

    action: str
    callback: str
    seconds: int
    silence: int


@dataclass(frozen=True, slots=True)
class GoOn:
    """Ask for the next document."""

    url: str


@dataclass(frozen=True, slots=True)
class EndCall:
    """Hang up."""


Verb = PlayClip | Gather | RecordCall | GoOn | EndCall


class Hook(Protocol):
    """The pure half of a provider."""

    name: str
    abilities: Abilities

    def genuine(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        params: Mapping[str, list[str]],
        now: datetime,
    ) -> bool:
        """Whether the provider sent this. url: our public address of it; headers: by lower-case name."""
        ...

    def document(self, verbs: tuple[Verb, ...]) -> str:
        """The XML that the provider carries out."""
        ...

    def told(self, body: bytes, params: Mapping[str, list[str]]) -> Delivery | None:
        """What is told of a text message of ours; None when nothing is."""
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """A recording as the provider lists it. status: 'processing', 'completed', 'absent' or 'failed'."""

    id: str
    status: str
    began: str


@dataclass(frozen=True, slots=True)
class CallFacts:
    """A call as the provider remembers it. over: nobody is on the line any more; began: None when it does not say."""

    over: bool
    ring: Ring
    began: datetime | None = None


class Carrier(Protocol):
    """The half that talks to the provider. All raise CarrierAway; every answer is bounded in size and time."""

    name: str

    def fetch(self, recording: str) -> bytes:
        """The sound file, decrypted. Raises NotThere, BadRecording."""
        ...

    def delete(self, recording: str) -> bool:
        """Gone when this returns. False: it was not there any more."""
        ...

    def recordings(self, call: str) -> list[Held]:
        """All recordings of a call, the first one first."""
        ...

    def since(self, moment: datetime) -> list[tuple[str, Held]]:
        """Recordings of the account that a call's own answer began, since then: (call, recording), some thousand."""
        ...

    def facts(self, call: str) -> CallFacts:
        """Raises NotThere."""
        ...
