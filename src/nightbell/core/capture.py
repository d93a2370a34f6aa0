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
    """How the payloads are encoded."""

    PCMU = "PCMU"
    PCMA = "PCMA"
    G722 = "G722"
    OPUS = "opus"

    @property
    def clock(self) -> int:
        """RTP timestamp ticks a second, the unit of every offset. G.722 has 16,000 samples a second and yet counts
        8,000 (RFC 3551 §4.5.2); Opus always counts 48,000 (RFC 7587 §4.1)."""
        return 48_000 if self is Codec.OPUS else 8_000


@dataclass(frozen=True, slots=True)
class CaptureMeta:
    """Written first, sealed with the rest. `mailbox` may be empty or unknown: the unrouted tray takes it.

    capture: ULID, becomes the message's id; dialled and caller: as the carrier gave them ('' if withheld);
    answered_at: RFC 3339 UTC; snapshot: version of the routing snapshot in force; flow: version of the call flow
    that the caller went through, 0 for none (captures of older phones lack it); talk: no caller's message but a call back
    whose patient agreed to be recorded, and `capture` is that call back's id.
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
    flow: int = 0
    talk: bool = False

    def as_dict(self) -> dict[str, object]:
        """What a message has no use for is left out: an older worker reads it as before."""
        values = asdict(self)
        return values if self.talk else {name: value for name, value in values.items() if name != "talk"}


@dataclass(frozen=True, slots=True)
class AudioPacket:
    """One RTP payload, still encoded. offset: ticks of `Codec.clock` since the recording began (by RTP timestamp)."""

    offset: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Digit:
    """One key press. at: milliseconds since the call was answered."""

    at: int
    key: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that the call flow decided. at: as in Digit. Names that a reader does not know are passed over.

    recording            the recorder runs; audio offset 0 is the moment of the FIRST such mark
    stage:<node>         the caller came to this node of the call flow
    urgent               pressed as urgent; never taken back
    urgency:review       chosen at the menu as what needs a look
    mailbox:<ULID>       the tray of a menu key
    language:<en|es>     the last one counts
    callback:seen        the caller confirmed the caller ID as the number to call back
    callback:<digits>    keyed in, read back and confirmed
    callback-entered:<digits>  keyed in, whole, and perhaps never confirmed; without digits: taken back
    callback:unsure      keyed in, but nobody said that it is right
    callback:skipped     no number could be had; of these the last one counts
    part:<name>          here begins a part: message name dob number reason refill worse more
    part-end             here it ends; one without an end runs to the end of the sound
    take                 the caller records again: the parts before this mark are superseded, not lost
    slow                 a relay operator, or a caller who needs time
    short                the short form of a full system
    test                 a call to a draft of the call flow
    studio:<dialled>     in place of it: a call in which a clip of the practice's own is recorded
    studio-keep          the clip is to be kept; without this mark it is not
    status:<state>       asked how far a message is, and was told this
    joins:<ULID>         it got worse: belongs to this earlier message
    promise:<clip>:<at>  what the caller is told when all is saved, and until when (RFC 3339 UTC, '-' for no time)
    imported:<new|heard> brought over from a voicemail, where nobody had heard it yet, or somebody had
    imported-flag        it was marked as urgent there
    unheard              the phone heard no voice in any part
    unfetched            a recording that a carrier made and held could not be had (yet)
    attest:<verified|failed|none>:<A|B|C|->  whether the caller's number is the caller's (sip.identity)
    diverted:<why>       the patient dialled another number, and the call came on to us: always busy no-answer
                         unreachable deflected by-time other
    """

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class End:
    """The last record. at: milliseconds since the call was answered."""

    at: int
    reason: EndReason


@dataclass(frozen=True, slots=True)
class Capture:
    """A capture as read back: everything up to the last whole segment. beside: sound of the second side of a call back."""

    meta: CaptureMeta
    packets: tuple[AudioPacket, ...]
    digits: tuple[Digit, ...]
    marks: tuple[Mark, ...]
    end: End
    complete: bool
    beside: tuple[AudioPacket, ...] = ()
