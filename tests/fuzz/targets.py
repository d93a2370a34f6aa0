"""What is fuzzed: each target takes any bytes and raises nothing, or it is a defect.

They hold more than "no crash": the errors that a parser documents and no others, answers that can be read back, the same
messages out of a stream however it was cut, places in a recording that are in bounds.
"""

from __future__ import annotations

import base64
import io
import json
import secrets
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote_from_bytes

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.fuzz import seeds
from tests.phone.house import House

from nightbell.adapters.carriers.telnyx import TelnyxHook
from nightbell.adapters.carriers.twilio import TwilioHook
from nightbell.core.capture import Codec
from nightbell.core.log import Log
from nightbell.phone import frames
from nightbell.phone.control import Control
from nightbell.phone.endpoint import _inspect
from nightbell.phone.snapshot import BadSnapshot, verify
from nightbell.server.control import ControlServer, Phone
from nightbell.sip import codecs, digest, history, identity, negotiation, ogg, registration, sdp, srtp, timers
from nightbell.sip.caller_id import caller_of
from nightbell.sip.dialog import as_uac, as_uas
from nightbell.sip.dtmf import KEYS, DtmfDecoder
from nightbell.sip.framing import MAX_HEAD, BrokenStream, Framer
from nightbell.sip.glance import glance
from nightbell.sip.grammar import parse_address, parse_uri, parse_via
from nightbell.sip.message import MAX_LINE, BadMessage, Request, Response, build_response, mark_via, parse
from nightbell.sip.rtp import BadRtp, Placement, pack, unpack

Target = Callable[[bytes], None]
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
PRINT = srtp.Fingerprint("sha-256", bytes(32))
TERMS = [negotiation.Terms(plain, private, PRINT) for plain in (True, False) for private in (True, False)]
CREDENTIALS = digest.Credentials.of("u", "carrier.example", "p")


def sip(data: bytes) -> None:
    """A message, and everything that is ever read from one."""
    look = glance(data)
    try:
        found = parse(data)
    except BadMessage as bad:
        _refusal(bad.code, bad.reply)
        return
    if isinstance(found, Request):
        assert look.method in ("", found.method)
        _request(found)
    else:
        _response(found)


def _refusal(code: int, reply: bytes | None) -> None:
    assert 400 <= code < 700
    assert reply is None or reply.startswith(b"SIP/2.0 ")


def _request(found: Request) -> None:
    headers = mark_via(found.headers, "2001:db8::1", 9)
    if (
        max(len(line) for lines in headers.values() for line in lines) < MAX_LINE - 100
    ):  # an echo is longer by what we note
        answer = parse(build_response(200, headers, "ours"))
        assert isinstance(answer, Response)
        assert answer.call_id == found.call_id
    assert "\r" not in caller_of(found)
    _inspect(found)
    history.first_dialled(found, lambda user: len(user) > 3)
    history.diverted(found)
    history.reasons(found)
    identity.judge(found, caller_of(found), ["5552014567"], {}, NOW, True)
    for read in (lambda: as_uas(found, "t", "<sip:x>"), lambda: timers.agree(found)):
        try:
            made: Any = read()
        except ValueError:
            continue
        if made is not None and hasattr(made, "request"):
            _ = made.next_hop, made.way
    description(found.session)


def _response(found: Response) -> None:
    registration.granted(found, "<sip:u@192.0.2.1:5061>", 600)
    registration.min_expires(found, 600)
    offered = digest.offered(found.headers, found.code)
    assert len(offered) <= digest.MAX_CHALLENGES
    session = digest.challenged(found.code or 401, found.headers, CREDENTIALS, None)
    if isinstance(session, digest.Session):
        assert session.challenge.realm == CREDENTIALS.realm
        again, (_, line) = digest.answer(session, CREDENTIALS, "INVITE", "sip:a@b", "00")
        assert "\r" not in line
        assert "\n" not in line
        digest.believed(again, found.headers)
    for read in (
        lambda: as_uac("a", "t", found, "<sip:x>", "sip:x@y"),
        lambda: timers.granted(found),
        lambda: timers.least(found),
    ):
        try:
            read()
        except ValueError:
            continue


def description(data: bytes) -> None:
    """A session description, our answer to it, and that answer read back."""
    try:
        offers = sdp.parse_all(data)
    except sdp.NotAcceptable:
        return
    for offer in offers:
        assert 0 < offer.port < 65536
        codec = offer.codecs[0][1]
        answer = sdp.build_answer(offer, ("192.0.2.1", 4000), codec, 1)
        assert answer.count(b"m=") >= len(offer.media)
        text = answer.replace(b"SAVPF", b"AVP").replace(b"SAVP", b"AVP").replace(b"UDP/TLS/", b"")
        assert sdp.parse(text).codecs[0][1] is codec


def stream(data: bytes) -> None:
    """The same messages, however the stream was cut; and where it cannot be followed, that is found in both."""
    if len(data) > MAX_HEAD:
        return
    whole, broken = _framed([data])
    step = 1 + sum(data[-3:]) % 61 if len(data) > 300 else 1
    drops, late = _framed([data[at : at + step] for at in range(0, len(data), step)])
    assert drops == whole
    # What is no SIP at all is given up as soon as that is known, and a stream that ends there is only not complete.
    assert late >= broken


def _framed(pieces: list[bytes]) -> tuple[list[bytes], bool]:
    framer, found = Framer(), list[bytes]()
    try:
        for piece in pieces:
            found += framer.feed(piece)
    except BrokenStream as broken:
        return found + broken.before, True
    return found, False


def sound(data: bytes) -> None:
    """Datagrams at a port for sound, each behind its length."""
    places = {codec: Placement(None, 30.0, 100.0, codec) for codec in Codec}
    keys, now = DtmfDecoder(), 100.0
    while data:
        size, data = data[0], data[1:]
        one, data = data[:size], data[size:]
        now += 0.02
        try:
            packet = unpack(one)
        except BadRtp:
            continue
        assert unpack(pack(packet)) == packet
        assert (keys.feed(packet) or "1") in KEYS
        for codec, place in places.items():
            codecs.loud(codec, packet.payload)
            at = place.place(packet, now)
            assert at is None or 0 <= at <= (now - 100.0 + 11.0) * codec.clock + 5760
            assert len(place._holes) <= place._HOLES


def challenge(data: bytes) -> None:
    lines = data.decode("utf-8", "surrogateescape").split("\r\n")
    for one in digest.challenges(lines):
        chosen = digest.choose([one], CREDENTIALS)
        assert isinstance(chosen, digest.Refusal) or chosen.algorithm in digest.ALGORITHMS
    try:
        digest.parse_params(lines[0])
    except ValueError:
        return


def headers(data: bytes) -> None:
    """What a carrier writes of the caller and of the way, in a request that is in order otherwise."""
    text = data.decode("utf-8", "surrogateescape")
    base = parse(seeds.messages()[-1])
    assert isinstance(base, Request)
    names = ("history-info", "diversion", "p-called-party-id", "reason", "identity", "p-asserted-identity", "privacy",
             "session-expires", "min-se", "require", "accept", "supported", "record-route", "contact", "replaces")  # fmt: skip
    for name in names:
        base.headers[name] = text.split("\r\n")
    try:
        _request(base)
    finally:
        for name in names:
            del base.headers[name]
    for read in (parse_address, parse_uri, parse_via):
        try:
            read(text)
        except ValueError:
            continue
    identity.read(text)
    srtp.parse_crypto(text)
    srtp.parse_fingerprint(text)


@cache
def _house() -> tuple[House, Ed25519PrivateKey]:
    house = House(Path(tempfile.mkdtemp(prefix="nightbell-fuzz-")))
    return house, house.signer


def snapshot(data: bytes) -> None:
    """As it comes, and as signed by the key that we trust."""
    _, key = _house()
    trust = key.public_key().public_bytes_raw()
    signed = {
        "payload": base64.b64encode(data).decode(),
        "signature": base64.b64encode(key.sign(data)).decode(),
    }
    for text in (data, json.dumps(signed).encode()):
        try:
            verify(text, trust)
        except BadSnapshot:
            continue


@cache
def _ends() -> tuple[Control, ControlServer]:
    def command(name: str, value: object) -> None:
        raise RuntimeError("whatever a command does wrong")

    near = Control(Path("/nowhere"), command, dict, dict, Log("fuzz", io.StringIO()))
    far = ControlServer(Path("/nowhere"), threading.Event(), threading.Event(), Log("fuzz", io.StringIO()))
    return near, far


class _Silent:
    """A connection on which nobody listens."""

    def sendall(self, data: bytes) -> None:
        pass


def control(data: bytes) -> None:
    """A line of the control channel at both ends, and a frame between the phone's processes."""
    near, far = _ends()
    near._log = far._log = Log("fuzz", io.StringIO())
    near._obey(data)
    near._waiting.clear()
    far._heard(Phone(_Silent()), data)  # type: ignore[arg-type]
    while not far.questions.empty():
        far.questions.get_nowait()
    try:
        frames.read(data, {"Kind": digest.Challenge})
    except frames.BadFrame:
        return


TWILIO = TwilioHook("AC" + "0" * 32, "token")


@cache
def _telnyx() -> TelnyxHook:
    return TelnyxHook(base64.b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode())


def webhook(data: bytes) -> None:
    """No header, address or body makes a false signature a fault of ours, or a true one."""
    text = data.decode("latin-1")
    given = {
        "x-twilio-signature": text[:200],
        "telnyx-timestamp": text[:20],
        "telnyx-signature-ed25519": text[:88],
    }
    for stamp in (text[:20], str(int(NOW.timestamp()))):
        url = "https://a.example/hooks?" + (
            text if text.isascii() and text.isprintable() else quote_from_bytes(data, "=&")
        )
        try:
            params = parse_qs(text, max_num_fields=100)
        except ValueError:
            params = {}
        assert not TWILIO.genuine(url, given, data, params, NOW)
        assert not _telnyx().genuine(url, given | {"telnyx-timestamp": stamp}, data, params, NOW)


def payload(data: bytes) -> None:
    """An Opus payload, a file of our own encoder."""
    assert 0 <= codecs.duration(Codec.OPUS, data) <= codecs.MOST_OPUS
    try:
        assert all(isinstance(one, bytes) for one in ogg.packets(data))
    except ogg.BadOgg:
        return


def agreement(data: bytes) -> None:
    """What we make of an offer's keys."""
    try:
        offers = sdp.parse_all(data)
    except sdp.NotAcceptable:
        return
    for terms in TERMS:
        try:
            offer, security = negotiation.best(offers, terms, srtp.PLAIN, secrets.token_bytes)
        except sdp.NotAcceptable:
            continue
        assert security.secured or not offer.encrypted
        sdp.build_answer(offer, ("192.0.2.1", 4000), offer.codecs[0][1], 1, 1, security)


TARGETS: dict[str, tuple[Target, Callable[[], tuple[bytes, ...]]]] = {
    "sip": (sip, seeds.messages),
    "description": (description, seeds.descriptions),
    "agreement": (agreement, seeds.descriptions),
    "stream": (stream, seeds.messages),
    "sound": (sound, seeds.streams),
    "challenge": (challenge, lambda: (seeds.CHALLENGE.encode(),)),
    "headers": (headers, lambda: tuple(line.partition(": ")[2].encode() for line in seeds.CARRIER.split("\r\n")[:-1])),
    "control": (control, seeds.lines),
    "snapshot": (snapshot, lambda: seeds.snapshots(_house()[0])),
    "webhook": (webhook, lambda: (b"AccountSid=AC1&CallSid=CA2&Digits=1", b"bodySHA256=" + b"0" * 64, b"1764212400", b"AAAA" * 22)),
    "payload": (payload, lambda: (b"\xf8\xff\xfe", b"\x4b\x43\x05" + bytes(60), ogg.wrap([b"\xf8\xff\xfe"] * 60, 48000))),
}  # fmt: skip
