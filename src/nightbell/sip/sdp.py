"""Session descriptions, as far as a G.711 phone line needs them (RFC 4566, offer/answer RFC 3264)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

from nightbell.core.capture import Codec
from nightbell.core.errors import NightbellError

MAX_BYTES = 16_384
_MAX_LINES = 512
_MAX_MEDIA = 16
_MAX_FORMATS = 64
_STATIC = {0: Codec.PCMU, 8: Codec.PCMA}
_NUMBER = {codec: number for number, codec in _STATIC.items()}
_MIRROR = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
DTMF_TYPE = 101


class NotAcceptable(NightbellError, ValueError):
    """We cannot take this session: answer 488 (RFC 3261 §21.4.26). `reason` fits a Warning header."""

    code = 488

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__("The session description", reason, "offer RTP/AVP audio with PCMU or PCMA")


@dataclass(frozen=True, slots=True)
class AudioOffer:
    """What the other side says of its audio, in an offer or an answer.

    codecs: in the other side's order of preference; direction: as seen by the other side;
    ptime: milliseconds; media: each m-line's kind, protocol and formats, to be echoed when refused;
    index: which of them is this audio.
    """

    address: str
    port: int
    codecs: tuple[tuple[int, Codec], ...]
    dtmf_type: int | None
    direction: str
    ptime: int
    session_id: int
    version: int
    media: tuple[str, ...]
    index: int

    @property
    def held(self) -> bool:
        """Whether the other side wants no sound from us (hold, old or new style)."""
        return self.direction in ("sendonly", "inactive") or self.address in ("0.0.0.0", "::")  # noqa: S104

    @property
    def remote(self) -> tuple[str, int]:
        return self.address, self.port

    def payload_type(self, codec: Codec) -> int | None:
        """The number under which the other side knows `codec`."""
        return next((number for number, name in self.codecs if name is codec), None)


@dataclass(slots=True)
class _Media:
    line: str
    address: str
    direction: str
    attributes: list[str]


def parse(data: bytes) -> AudioOffer:
    """Read an offer or an answer. Raises NotAcceptable: malformed, too long, no usable audio."""
    if len(data) > MAX_BYTES:
        raise NotAcceptable("it is too long")
    try:
        lines = data.decode("utf-8").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise NotAcceptable("it is not UTF-8") from error
    if len(lines) > _MAX_LINES:
        raise NotAcceptable("it has too many lines")
    session_id, version, media = _sections([line for line in lines if line])
    reasons = []
    for index, one in enumerate(media):
        try:
            offer = _audio(one)
        except NotAcceptable as refused:
            reasons.append(refused.reason)
            continue
        return replace(
            offer, session_id=session_id, version=version, media=tuple(m.line for m in media), index=index
        )
    raise NotAcceptable(reasons[0] if reasons else "it has no media")


def _sections(lines: list[str]) -> tuple[int, int, list[_Media]]:
    if not lines or lines[0] != "v=0":
        raise NotAcceptable("it does not begin with v=0")
    session_id = version = 0
    common = _Media("", "", "sendrecv", [])
    media: list[_Media] = []
    for line in lines[1:]:
        if len(line) < 2 or line[1] != "=":
            raise NotAcceptable("a line is not of the form x=value")
        kind, value = line[0], line[2:].strip()
        current = media[-1] if media else common
        if kind == "o":
            session_id, version = _origin(value)
        elif kind == "m":
            if len(media) == _MAX_MEDIA:
                raise NotAcceptable("it has too many media")
            media.append(_Media(value, common.address, common.direction, []))
        elif kind == "c":
            current.address = _connection(value)
        elif kind == "a":
            if value in _MIRROR:
                current.direction = value
            else:
                current.attributes.append(value)
    return session_id, version, media


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


def _address(text: str, port: int) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise NotAcceptable("its media address is not an IP address") from error
    if address.is_multicast or text == "255.255.255.255" or "%" in text:
        raise NotAcceptable("its media address is not one host")
    if not 0 < port < 65536:
        raise NotAcceptable("its media port is out of range")
    return str(address)


def _audio(media: _Media) -> AudioOffer:
    parts = media.line.split()
    if len(parts) < 4:
        raise NotAcceptable("an m= line is incomplete")
    kind, port, protocol, formats = parts[0], parts[1].partition("/")[0], parts[2], parts[3:]
    if kind != "audio":
        raise NotAcceptable("it has no audio")
    if protocol != "RTP/AVP":
        raise NotAcceptable("its audio is not plain RTP/AVP")
    if port == "0":
        raise NotAcceptable("its audio is disabled")
    address = _address(media.address, int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0)
    codecs, dtmf = _codecs(formats, media.attributes)
    if not codecs:
        raise NotAcceptable("it has neither PCMU nor PCMA")
    ptime = next((a[6:] for a in media.attributes if a.startswith("ptime:")), "20")
    return AudioOffer(
        address=address,
        port=int(port),
        codecs=codecs,
        dtmf_type=dtmf,
        direction=media.direction,
        ptime=int(ptime) if ptime in ("10", "20", "30", "40", "50", "60") else 20,
        session_id=0,
        version=0,
        media=(),
        index=0,
    )


def _codecs(formats: list[str], attributes: list[str]) -> tuple[tuple[tuple[int, Codec], ...], int | None]:
    if len(formats) > _MAX_FORMATS:
        raise NotAcceptable("it has too many formats")
    names: dict[str, str] = {}
    for attribute in attributes:
        if attribute.startswith("rtpmap:"):
            mapped, _, encoding = attribute[7:].partition(" ")
            names[mapped] = encoding.strip().upper()
    codecs: list[tuple[int, Codec]] = []
    dtmf: int | None = None
    for text in formats:
        if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) < 128):
            continue
        number = int(text)
        static = _STATIC.get(number)
        name = names.get(text, f"{static}/8000" if static else "")
        if name.startswith("TELEPHONE-EVENT/8000"):
            dtmf = number if dtmf is None else dtmf
        elif name in ("PCMU/8000", "PCMA/8000", "PCMU/8000/1", "PCMA/8000/1"):
            codecs.append((number, Codec(name[:4])))
    return tuple(codecs), dtmf


def _kind(address: str) -> str:
    return "IP6" if ":" in address else "IP4"


def _head(address: str, session_id: int, version: int) -> list[str]:
    return [
        "v=0",
        f"o=- {session_id} {version} IN {_kind(address)} {address}",
        "s=-",
        f"c=IN {_kind(address)} {address}",
        "t=0 0",
    ]


def _audio_lines(
    port: int, codecs: tuple[tuple[int, Codec], ...], dtmf: int | None, ptime: int, direction: str
) -> list[str]:
    numbers = [str(number) for number, _ in codecs] + ([] if dtmf is None else [str(dtmf)])
    lines = [f"m=audio {port} RTP/AVP {' '.join(numbers)}"]
    lines += [f"a=rtpmap:{number} {codec}/8000" for number, codec in codecs]
    if dtmf is not None:
        lines += [f"a=rtpmap:{dtmf} telephone-event/8000", f"a=fmtp:{dtmf} 0-15"]
    return [*lines, f"a=ptime:{ptime}", f"a={direction}"]


def build_offer(
    local: tuple[str, int],
    codecs: tuple[Codec, ...],
    session_id: int,
    version: int = 1,
    direction: str = "sendrecv",
) -> bytes:
    """An offer of these codecs and key presses, 20 ms a packet."""
    address, port = local
    numbered = tuple((_NUMBER[codec], codec) for codec in codecs)
    lines = _head(address, session_id, version) + _audio_lines(port, numbered, DTMF_TYPE, 20, direction)
    return ("\r\n".join(lines) + "\r\n").encode()


def build_answer(
    offer: AudioOffer, local: tuple[str, int], codec: Codec, session_id: int, version: int = 1
) -> bytes:
    """The answer: this codec under the offer's own number, its key presses, every other medium refused.

    Raises NotAcceptable when the offer does not have `codec`.
    """
    number = offer.payload_type(codec)
    if number is None:
        raise NotAcceptable(f"it does not have {codec}")
    address, port = local
    lines = _head(address, session_id, version)
    for index, line in enumerate(offer.media):
        if index == offer.index:
            direction = _MIRROR[offer.direction]
            lines += _audio_lines(port, ((number, codec),), offer.dtmf_type, offer.ptime, direction)
        else:
            kind, _port, rest = (*line.split(None, 2), "", "")[:3]
            lines.append(f"m={kind} 0 {rest}")
    return ("\r\n".join(lines) + "\r\n").encode()
