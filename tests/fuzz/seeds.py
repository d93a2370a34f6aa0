"""What the fuzzers begin with: RFC 4475's messages, messages as real phones and carriers send them, and one of everything else."""

from __future__ import annotations

import json
import struct
from functools import cache
from pathlib import Path

from tests.phone.endpoints import message, offer
from tests.phone.house import House

from nightbell.sip.dtmf import key_press
from nightbell.sip.rtp import RtpPacket, pack

CORPUS = Path(__file__).parents[1] / "vectors" / "rfc4475"
SDES = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "d" * 40 + "|2^20\r\n"
PRINT = "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\na=setup:actpass\r\n"
OPUS = (
    "a=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1;stereo=0\r\na=rtpmap:102 telephone-event/48000\r\n"
)
BIG = (
    "v=0\r\no=- 3909090909 3909090909 IN IP4 192.0.2.7\r\ns=pjmedia\r\nb=AS:117\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    "a=X-nat:0\r\nm=audio 4006 UDP/TLS/RTP/SAVPF 96 9 0 8 102 101\r\nc=IN IP4 192.0.2.7\r\nb=TIAS:96000\r\n"
    "a=rtcp:4007 IN IP4 192.0.2.7\r\na=mid:0\r\na=rtcp-mux\r\na=ssrc:1 cname:x\r\na=ptime:20\r\na=sendrecv\r\n"
    "a=rtpmap:9 G722/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n" + OPUS + SDES + PRINT
    + "m=audio 4008 RTP/AVP 0 101\r\nc=IN IP6 2001:db8::7\r\na=inactive\r\nm=video 0 RTP/AVP 31\r\n"
)  # fmt: skip
CARRIER = (
    'P-Asserted-Identity: "A, B" <sip:+15552017123;verstat=TN-Validation-Passed-A@carrier.example;user=phone>, <tel:+15552017123>\r\n'
    "Privacy: none\r\nHistory-Info: <sip:+15552014567@a.example?Reason=SIP%3Bcause%3D486>;index=1,"
    ' <sip:+15552014568@b.example;cause=408>;index=1.1;rc="1"\r\n'
    "Diversion: <sip:+15552014567@a.example>;reason=no-answer;counter=1;privacy=off\r\n"
    "P-Called-Party-ID: <sip:5552014567@x.example>\r\nReason: Q.850;cause=16;text=\"x\", SIP;cause=200\r\n"
    "Identity: eyJhbGciOiJFUzI1NiIsInBwdCI6InNoYWtlbiIsIng1dSI6Imh0dHBzOi8vYy5leGFtcGxlL3MucGVtIn0."
    "eyJhdHRlc3QiOiJBIiwiZGVzdCI6eyJ0biI6WyIxNTU1Il19LCJpYXQiOjEsIm9yaWciOnsidG4iOiIxNTU1In19."
    + "A" * 86 + ";info=<https://c.example/s.pem>;alg=ES256;ppt=\"shaken\"\r\n"
    "Session-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\nSupported: timer, 100rel, replaces\r\nRequire: 100rel\r\n"
    "Record-Route: <sip:p1.example;lr>, <sip:p2.example:5080;transport=tcp;lr>\r\nAccept: application/sdp, */*\r\n"
    "User-Agent: Carrier/1.0 (x; y)\r\nRSeq: 1\r\nRAck: 1 1 INVITE\r\nReplaces: c1;to-tag=a;from-tag=b\r\n"
    "Refer-To: <sip:x@y.example>\r\nContact: <sip:a@192.0.2.7:5060;ob>;+sip.instance=\"<urn:uuid:1>\";expires=60\r\n"
)  # fmt: skip
CHALLENGE = 'Digest realm="carrier.example", nonce="x\\"y", opaque="", algorithm=SHA-256, qop="auth,auth-int", stale=true, userhash=false'
RESPONSE = (
    "SIP/2.0 {code} OK\r\nVia: SIP/2.0/TLS 192.0.2.1:5061;branch=z9hG4bKabc;received=192.0.2.9;rport=7\r\n"
    "From: <sip:u@carrier.example>;tag=1\r\nTo: <sip:u@carrier.example>;tag=2\r\nCall-ID: r1\r\nCSeq: 1 {method}\r\n"
    "Contact: <sip:u@192.0.2.1:5061>;expires=300, <sip:v@192.0.2.2>\r\nExpires: 60\r\nMin-Expires: 600\r\nMin-SE: 600\r\n"
    "WWW-Authenticate: " + CHALLENGE + "\r\nProxy-Authenticate: " + CHALLENGE + "\r\nService-Route: <sip:p.example;lr>\r\n"
    'Authentication-Info: nextnonce="n2", qop=auth, rspauth="00"\r\nContent-Length: 0\r\n\r\n'
)  # fmt: skip


@cache
def torture() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(CORPUS.glob("*.dat")))


@cache
def messages() -> tuple[bytes, ...]:
    """SIP: requests, responses, and the torture tests."""
    plain = [message(name, 5060, body=offer()) for name in ("INVITE", "UPDATE")]
    plain += [
        message(name, 5060, to_tag="x")
        for name in ("BYE", "CANCEL", "ACK", "PRACK", "REFER", "INFO", "NOTIFY")
    ]
    plain += [
        message("OPTIONS", 5060),
        message("REGISTER", 5060),
        message("INVITE", 5060, body=BIG, extra=CARRIER),
    ]
    answers = [
        RESPONSE.format(code=code, method=method).encode()
        for code, method in (
            (100, "INVITE"),
            (200, "REGISTER"),
            (401, "INVITE"),
            (302, "INVITE"),
            (423, "REGISTER"),
        )
    ]
    mixed = f"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b\r\nContent-Type: application/sdp\r\n\r\n{offer()}\r\n--b--\r\n"
    parts = message("INVITE", 5060, body=mixed, extra="Content-Type: multipart/mixed;boundary=b\r\n")
    return (*torture(), *plain, *answers, parts)


@cache
def descriptions() -> tuple[bytes, ...]:
    return (
        offer().encode(),
        BIG.encode(),
        offer(formats="96 0 101").encode() + OPUS.encode(),
        (offer() + SDES).encode(),
    )


@cache
def sounds() -> tuple[bytes, ...]:
    """Datagrams at a port for sound, each behind its length, as the target for streams of them takes them."""
    voice = [
        RtpPacket(kind, n == 0, n, n * 160, 7, bytes([0x7F]) * 160) for n in range(3) for kind in (0, 8, 9)
    ]
    opus = [
        RtpPacket(96, False, 1, 960, 7, body)
        for body in (b"\xf8\xff\xfe", b"\x0b\x82\x02aabb", b"\x4b\x43\x05" + bytes(60))
    ]
    keys = list(key_press("5", 101, 9, 1600, 7))[:4]
    odd = [
        bytes([0xB5, 0x80]) + struct.pack("!HII", 1, 2, 3) + bytes(20) + struct.pack("!HH", 0xBEDE, 2) + bytes(8) + b"xy\x02",
        bytes([0x80, 200]) + bytes(26), b"\x00\x01\x00\x08\x21\x12\xa4\x42" + bytes(20), b"\x16\xfe\xfd" + bytes(60),
    ]  # fmt: skip
    return tuple([pack(one) for one in (*voice, *opus, *keys)] + odd)


@cache
def streams() -> tuple[bytes, ...]:
    whole = b"".join(bytes([min(255, len(one))]) + one for one in sounds())
    return (whole, b"".join(bytes([len(one)]) + one for one in sounds()[-6:]))


@cache
def lines() -> tuple[bytes, ...]:
    """Of the control channel, both ways."""
    orders: list[object] = [
        {"command": "ping"}, {"command": "drain"}, {"command": "taken", "data": {"capture": "c", "rings": True}},
        {"command": "status", "data": {"capture": "c", "state": "open", "at": "2026-11-24T03:00:00.000Z", "ref": "r"}},
        {"command": "ask_trunk", "data": {"id": "01A"}}, {"command": "snapshot", "data": {"payload": "e30=", "signature": ""}},
        {"event": "hello", "version": 1, "pid": 2}, {"event": "capture_ready", "capture": "01K0"},
        {"event": "health", "active_calls": 1, "rtp": {"x": 1}, "sip": {"in_INVITE": 2}, "lines": {"P": 1}, "epoch": "e",
         "snapshot_version": 3, "uptime": 1.5, "trunks": {"01A": {"state": "registered", "code": 200, "why": "", "realm": "r",
         "algorithms": ["MD5"], "rtt_ms": 1.0, "calls": 2, "refused_plain": 0, "since": "2026-11-24T03:00:00.000Z"}}},
        {"event": "status", "capture": "c", "practice": "p", "number": "5", "caller": "6"},
    ]  # fmt: skip
    return tuple(json.dumps(order).encode() for order in orders)


def snapshots(house: House) -> tuple[bytes, ...]:
    """The content of a routing snapshot, with trunks."""
    trunk = {"id": "01K000000000000000000000AA", "name": "t", "kind": "register", "domain": "carrier.example", "proxy": "192.0.2.1:5061", "user": "u",
             "ha1": {"MD5": "0" * 32}, "sources": ["192.0.2.0/24"], "transport": "tls"}  # fmt: skip
    plain = {"version": 1, "issued_at": "2026-11-24T03:00:00.000Z", "epoch": house.epoch.to_dict(), "lines": house.lines,
             "numbers": house.numbers, "limits": {"drain_seconds": 3}}  # fmt: skip
    return (json.dumps(plain).encode(), json.dumps(plain | {"trunks": [trunk]}).encode())
