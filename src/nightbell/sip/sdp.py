"""Session descriptions, as far as a phone line needs them (RFC 4566, offer/answer RFC 3264)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from nightbell.core.capture import Codec
from nightbell.sip.sdp_lines import MAX_BYTES, Media, NotAcceptable, Sections, sections
from nightbell.sip.srtp import PLAIN, Crypto, Fingerprint, Security, parse_crypto, parse_fingerprint

__all__ = [
    "DTMF_TYPE",
    "MAX_BYTES",
    "AudioOffer",
    "NotAcceptable",
    "build_answer",
    "build_offer",
    "parse",
    "parse_all",
]

_MAX_FORMATS = 64
_MAX_SECRETS = 32  # a=crypto and a=fingerprint lines that are looked at
_STATIC = {0: Codec.PCMU, 8: Codec.PCMA, 9: Codec.G722}
_MAPPED = {
    "PCMU": (Codec.PCMU, "PCMU/8000"),
    "PCMA": (Codec.PCMA, "PCMA/8000"),
    "G722": (Codec.G722, "G722/8000"),
    "OPUS": (Codec.OPUS, "opus/48000/2"),
}
_NAMES = {codec: name for codec, name in _MAPPED.values()}
_NUMBER = {Codec.PCMU: 0, Codec.PCMA: 8, Codec.G722: 9, Codec.OPUS: 96}
# Decoded to 16 kHz for who listens; correction within the stream costs little and saves words (RFC 7587 §6.1).
_OPUS = "maxplaybackrate=16000;sprop-maxcapturerate=16000;stereo=0;useinbandfec=1"
_MIRROR = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
_SETUPS = ("actpass", "active", "passive", "holdconn")
_PLAIN = ("RTP/AVP", "RTP/AVPF")
_SECURE = ("RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,64}\Z")
_EVENTS = {8_000: 101, 48_000: 102}  # our payload types of key presses, by clock
DTMF_TYPE = _EVENTS[8_000]


@dataclass(frozen=True, slots=True)
class AudioOffer:
    """What the other side says of its audio, in an offer or an answer.

    codecs: in the other side's order of preference; events: payload types of key presses and their clocks; direction: as
    seen by the other side; ptime: milliseconds; media: each m-line's kind, protocol and formats, to be echoed when refused;
    index: which of them is this audio. protocol: of this m-line; crypto: the lines that we could take; fingerprints, setup:
    of its DTLS certificate, its part in the handshake ('' if not said); mid: its name in a bundle, '' if it is in none.
    """

    address: str
    port: int
    codecs: tuple[tuple[int, Codec], ...]
    events: tuple[tuple[int, int], ...]
    direction: str
    ptime: int
    session_id: int
    version: int
    media: tuple[str, ...]
    index: int
    protocol: str = "RTP/AVP"
    crypto: tuple[Crypto, ...] = ()
    fingerprints: tuple[Fingerprint, ...] = ()
    setup: str = ""
    rtcp_mux: bool = False
    mid: str = ""

    @property
    def held(self) -> bool:
        """Whether the other side wants no sound from us (hold, old or new style)."""
        return self.direction in ("sendonly", "inactive") or self.address in ("0.0.0.0", "::")  # noqa: S104

    @property
    def remote(self) -> tuple[str, int]:
        return self.address, self.port

    @property
    def encrypted(self) -> bool:
        """Whether its protocol takes no plain sound. RTP/AVP with keys leaves it open (RFC 8643)."""
        return self.protocol in _SECURE

    @property
    def dtmf_type(self) -> int | None:
        """The payload type of key presses beside the codec that it likes best."""
        return self.dtmf_type_for(self.codecs[0][1])

    def dtmf_type_for(self, codec: Codec) -> int | None:
        """The payload type of key presses beside this codec: of the same clock (RFC 4733 §2.1), or else of 8000 Hz."""
        clocks = {clock: number for number, clock in reversed(self.events)}
        return clocks.get(codec.clock, clocks.get(8_000))

    def payload_type(self, codec: Codec) -> int | None:
        """The number under which the other side knows `codec`."""
        return next((number for number, name in self.codecs if name is codec), None)


def parse(data: bytes) -> AudioOffer:
    """Read an offer or an answer: the best of its audio. Raises NotAcceptable: malformed, too long, no usable audio."""
    return parse_all(data)[0]


def parse_all(data: bytes) -> tuple[AudioOffer, ...]:
    """Every audio that we could take, encrypted before plain, else in the order of the offer; at least one. The same call
    may be offered twice, encrypted and plain: whoever answers takes one. Raises NotAcceptable as `parse`."""
    found = sections(data)
    reasons, offers = [], []
    for index in range(len(found.media)):
        try:
            offers.append(_offer(found, index))
        except NotAcceptable as refused:
            reasons.append(refused.reason)
    if not offers:
        raise NotAcceptable(reasons[0] if reasons else "it has no media")
    return tuple(sorted(offers, key=lambda one: not (one.encrypted or one.crypto or one.fingerprints)))


def _offer(found: Sections, index: int) -> AudioOffer:
    one = found.media[index]
    address, port, formats, protocol = _head_of(one)
    codecs, events = _codecs(formats, one)
    crypto, prints = _crypto(one), _fingerprints(one) or _fingerprints(found.common)
    if protocol in _SECURE and not (crypto or prints):
        raise NotAcceptable("it has no keys that we can use: offer AES_CM_128_HMAC_SHA1_80")
    ptime, mid = next(iter(one.values("ptime")), "20"), next(iter(one.values("mid")), "")
    bundled = any(mid in _bundle(group) for group in found.common.values("group"))
    return AudioOffer(
        address, port, codecs, events, one.direction,
        ptime=int(ptime) if ptime in ("10", "20", "30", "40", "50", "60") else 20,
        session_id=found.session_id, version=found.version,
        media=tuple(media.line for media in found.media), index=index,
        protocol=protocol, crypto=crypto, fingerprints=prints, setup=_setup(one) or _setup(found.common),
        rtcp_mux="rtcp-mux" in one.attributes, mid=mid if bundled else "",
    )  # fmt: skip


def _bundle(group: str) -> list[str]:
    kind, *names = group.split()[:17] or [""]
    return [name for name in names if _TOKEN.match(name)] if kind == "BUNDLE" else []


def _crypto(media: Media) -> tuple[Crypto, ...]:
    lines = (parse_crypto(value) for value in media.values("crypto")[:_MAX_SECRETS])
    return tuple(line for line in lines if line is not None)


def _fingerprints(media: Media) -> tuple[Fingerprint, ...]:
    prints = (parse_fingerprint(value) for value in media.values("fingerprint")[:_MAX_SECRETS])
    return tuple(one for one in prints if one is not None)


def _setup(media: Media) -> str:
    return next((value for value in media.values("setup") if value in _SETUPS), "")


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


def _head_of(media: Media) -> tuple[str, int, list[str], str]:
    """Address, port, formats and protocol of an audio m-line."""
    parts = media.line.split()
    if len(parts) < 4:
        raise NotAcceptable("an m= line is incomplete")
    kind, text, protocol, formats = parts[0], parts[1].partition("/")[0], parts[2], parts[3:]
    if kind != "audio":
        raise NotAcceptable("it has no audio")
    if protocol not in (*_PLAIN, *_SECURE):
        raise NotAcceptable("its audio is neither RTP nor SRTP")
    if text == "0":
        raise NotAcceptable("its audio is disabled")
    port = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if len(formats) > _MAX_FORMATS:
        raise NotAcceptable("it has too many formats")
    return _address(media.address, port), port, formats, protocol


def _codecs(
    formats: list[str], media: Media
) -> tuple[tuple[tuple[int, Codec], ...], tuple[tuple[int, int], ...]]:
    """Codecs that we have and key presses, in the order of the formats."""
    names: dict[str, str] = {}
    for value in media.values("rtpmap"):
        mapped, _, encoding = value.partition(" ")
        names[mapped] = encoding.strip().upper()
    codecs: list[tuple[int, Codec]] = []
    events: list[tuple[int, int]] = []
    for text in formats:
        if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) < 128):
            continue
        number = int(text)
        static = _STATIC.get(number)
        name, _, rate = names.get(text, f"{static}/8000" if static else "").partition("/")
        if name == "TELEPHONE-EVENT" and rate.partition("/")[0] in ("8000", "48000"):
            events.append((number, int(rate.partition("/")[0])))
        elif name in _MAPPED and rate in _rates(_MAPPED[name][1]):
            codecs.append((number, _MAPPED[name][0]))
    if not codecs:
        raise NotAcceptable("it has none of PCMU, PCMA, G722 and opus")
    return tuple(codecs), tuple(events)


def _rates(ours: str) -> tuple[str, ...]:
    rate = ours.partition("/")[2]
    return (rate,) if "/" in rate else (rate, rate + "/1")


def _kind(address: str) -> str:
    return "IP6" if ":" in address else "IP4"


def _head(address: str, session_id: int, version: int, group: str = "") -> list[str]:
    lines = [
        "v=0",
        f"o=- {session_id} {version} IN {_kind(address)} {address}",
        "s=-",
        f"c=IN {_kind(address)} {address}",
        "t=0 0",
    ]
    return [*lines, f"a=group:BUNDLE {group}"] if group else lines


@dataclass(frozen=True, slots=True)
class _Ours:
    """What our own m-line says."""

    port: int
    protocol: str
    codecs: tuple[tuple[int, Codec], ...]
    events: tuple[tuple[int, int], ...]
    ptime: int
    direction: str
    more: tuple[str, ...]

    def lines(self) -> list[str]:
        numbers = " ".join(str(number) for number, _ in (*self.codecs, *self.events))
        lines = [f"m=audio {self.port} {self.protocol} {numbers}"]
        for number, codec in self.codecs:
            lines.append(f"a=rtpmap:{number} {_NAMES[codec]}")
            if codec is Codec.OPUS:
                lines.append(f"a=fmtp:{number} {_OPUS}")
        for number, clock in self.events:
            lines += [f"a=rtpmap:{number} telephone-event/{clock}", f"a=fmtp:{number} 0-15"]
        return [*lines, f"a=ptime:{self.ptime}", f"a={self.direction}", *self.more]


def build_offer(
    local: tuple[str, int],
    codecs: tuple[Codec, ...],
    session_id: int,
    version: int = 1,
    direction: str = "sendrecv",
    security: Security = PLAIN,
    protocol: str = "",
) -> bytes:
    """An offer of these codecs and key presses, 20 ms a packet, protected as `security` says. protocol: within a call the
    one that it has, else what fits."""
    address, port = local
    if not protocol:
        protocol = "RTP/AVP"
        if security.required:
            protocol = "RTP/SAVP" if security.crypto else "UDP/TLS/RTP/SAVP"
    clocks = dict.fromkeys(codec.clock for codec in codecs)
    ours = _Ours(
        port, protocol, tuple((_NUMBER[codec], codec) for codec in codecs),
        tuple((_EVENTS[clock], clock) for clock in clocks), 20, direction, tuple(security.lines()),
    )  # fmt: skip
    lines = _head(address, session_id, version) + ours.lines()
    return ("\r\n".join(lines) + "\r\n").encode()


def build_answer(
    offer: AudioOffer,
    local: tuple[str, int],
    codec: Codec,
    session_id: int,
    version: int = 1,
    security: Security = PLAIN,
) -> bytes:
    """The answer: this codec under the offer's own number, its key presses, every other medium refused.

    Raises NotAcceptable when the offer does not have `codec`.
    """
    number = offer.payload_type(codec)
    if number is None:
        raise NotAcceptable(f"it does not have {codec}")
    address, port = local
    dtmf = offer.dtmf_type_for(codec)
    events = tuple((one, clock) for one, clock in offer.events if one == dtmf)[:1]
    more = security.lines() + ["a=rtcp-mux"] * offer.rtcp_mux + [f"a=mid:{offer.mid}"] * bool(offer.mid)
    ours = _Ours(
        port, offer.protocol, ((number, codec),), events, offer.ptime, _MIRROR[offer.direction], tuple(more)
    )
    lines = _head(address, session_id, version, offer.mid)
    for index, line in enumerate(offer.media):
        if index == offer.index:
            lines += ours.lines()
        else:
            kind, _port, rest = (*line.split(None, 2), "", "", "")[:3]
            lines.append(f"m={kind} 0 {rest}")
    return ("\r\n".join(lines) + "\r\n").encode()
