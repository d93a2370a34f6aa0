"""What the phone knows about a call and puts, sealed, in front of its recording."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class EndReason(StrEnum):
    """Why a recording ended."""

    HANG_UP = "hang_up"
    POUND = "pound"
    SILENCE = "silence"
    LIMIT = "limit"
    DRAIN = "drain"
    INTERRUPTED = "interrupted"  # the file was cut: power, kill, full disk


class Codec(StrEnum):
    """How the payloads are encoded, 8000 samples a second."""

    PCMU = "PCMU"
    PCMA = "PCMA"


@dataclass(frozen=True, slots=True)
class CaptureMeta:
    """Written first, sealed with the rest. `mailbox` may be empty or unknown: the unrouted tray takes it.

    capture: ULID, becomes the message's id; dialled and caller: as the carrier gave them ('' if withheld);
    answered_at: RFC 3339 UTC; snapshot: version of the routing snapshot in force.
    """

    capture: str
    practice: str
    mailbox: str
    dialled: str
    caller: str
    answered_at: str
    language: str
    codec: Codec
    snapshot: int

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class AudioPacket:
    """One RTP payload, still encoded. offset: samples since the recording began (by RTP timestamp)."""

    offset: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Digit:
    """One key press. at: milliseconds since the call was answered."""

    at: int
    key: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that the call flow decided: 'urgent', 'recording', 'stage:<name>'. at: as in Digit."""

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class End:
    """The last record. at: milliseconds since the call was answered."""

    at: int
    reason: EndReason


@dataclass(frozen=True, slots=True)
class Capture:
    """A capture as read back: everything up to the last whole segment."""

    meta: CaptureMeta
    packets: tuple[AudioPacket, ...]
    digits: tuple[Digit, ...]
    marks: tuple[Mark, ...]
    end: End
    complete: bool
