"""The lines of a session description, taken apart and bounded (RFC 4566 §5)."""

from __future__ import annotations

from dataclasses import dataclass, field

from nightbell.core.errors import NightbellError

MAX_BYTES = 16_384
_MAX_LINES = 512
_MAX_MEDIA = 16
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")


class NotAcceptable(NightbellError, ValueError):
    """We cannot take this session: answer 488 (RFC 3261 §21.4.26). `reason` fits a Warning header."""

    code = 488

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__("The session description", reason, "offer SRTP audio with PCMU, PCMA, G722 or opus")


@dataclass(slots=True)
class Media:
    """One m= line and what belongs to it; address, direction and attributes of the session where it has none.

    line: without its 'm='; attributes: without their 'a='."""

    line: str
    address: str
    direction: str
    attributes: list[str] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """The values of every attribute of this name."""
        return [one[len(name) + 1 :] for one in self.attributes if one.startswith(name + ":")]


@dataclass(slots=True)
class Sections:
    """A description: the o= line's id and version, what is said for all media, and the media."""

    session_id: int
    version: int
    common: Media
    media: list[Media]


def sections(data: bytes) -> Sections:
    """Take a description apart. Raises NotAcceptable: malformed or too long."""
    if len(data) > MAX_BYTES:
        raise NotAcceptable("it is too long")
    try:
        lines = data.decode("utf-8").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise NotAcceptable("it is not UTF-8") from error
    if len(lines) > _MAX_LINES:
        raise NotAcceptable("it has too many lines")
    lines = [line for line in lines if line]
    if not lines or lines[0] != "v=0":
        raise NotAcceptable("it does not begin with v=0")
    common = Media("", "", "sendrecv")
    found = Sections(0, 0, common, [])
    for line in lines[1:]:
        if len(line) < 2 or line[1] != "=":
            raise NotAcceptable("a line is not of the form x=value")
        _take(found, line[0], line[2:].strip())
    return found


def _take(found: Sections, kind: str, value: str) -> None:
    common, media = found.common, found.media
    current = media[-1] if media else common
    if kind == "o":
        found.session_id, found.version = _origin(value)
    elif kind == "m":
        if len(media) == _MAX_MEDIA:
            raise NotAcceptable("it has too many media")
        media.append(Media(value, common.address, common.direction))
    elif kind == "c":
        current.address = _connection(value)
    elif kind == "a":
        if value in DIRECTIONS:
            current.direction = value
        else:
            current.attributes.append(value)


def _origin(value: str) -> tuple[int, int]:
    parts = value.split()
    if len(parts) != 6:
        raise NotAcceptable("its o= line does not have six parts")
    return _number(parts[1]), _number(parts[2])


def _number(text: str) -> int:
    # RFC 4566 wants digits of any length here; anything else is kept as 0 since nothing hangs on it.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0


def _connection(value: str) -> str:
    parts = value.split()
    if len(parts) != 3 or parts[0] != "IN" or parts[1] not in ("IP4", "IP6"):
        raise NotAcceptable("its c= line is not an Internet address")
    return parts[2]
