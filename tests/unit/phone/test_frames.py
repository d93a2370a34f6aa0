"""Messages between the phone's processes: what is sent is what is read, and nothing else is."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbell.core.capture import Codec
from nightbell.core.errors import RefusedStart
from nightbell.phone import legs
from nightbell.phone.frames import MAX_FRAME, BadFrame, Link, pack, read
from nightbell.phone.spread import shares
from nightbell.sip import sdp
from nightbell.sip.srtp import Crypto, Fingerprint, Keying, Security, SrtpKeys

OFFER = sdp.parse(
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)
KEYS = SrtpKeys("AEAD_AES_128_GCM", bytes(range(28)), bytes(range(200, 228)))
SECURED = Security(
    Keying.DTLS, (Crypto(1, KEYS.profile, KEYS.ours),), Fingerprint("sha-256", bytes(range(32))), "passive", KEYS,
    (Fingerprint("sha-512", bytes(64)),), True,
)  # fmt: skip
MESSAGES = [
    legs.Invite(
        7, "5552014567", "", OFFER, SECURED, "2001:db8::1", "tls", "::1", 5061, True, "es", False, "::1", ("attest:none:-",)
    ),
    legs.Changed(7, OFFER, Security()),
    legs.Told("01K000000000000000000MAB0X", "owned", "", "7"),
    legs.EndAll(),
    legs.Routing(3, 1.5),
    legs.Answer(7, "127.0.0.1", 20000, Codec.PCMA, SECURED.fingerprint),
    legs.Answer(7, "127.0.0.1", 20000, Codec.PCMU, None),
    legs.Voices(((1, 500, True), (2, 0, False))),
    legs.Stats({"received": 3}, {}, {"missed": 1}, 2, 0, 0.25),
    legs.Event("capture_ready", "01K000000000000000000MAB0X"),
]  # fmt: skip
ALL = {**legs.DOWN, **legs.UP}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda one: type(one).__name__)
def test_a_message_is_read_as_it_was_written(message: object) -> None:
    frame = pack(message)
    assert struct.unpack("!I", frame[:4]) == (len(frame) - 4,)
    assert read(frame[4:], ALL) == message


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "Invite"},  # what only the front may say
        {"kind": "Popen"},
        {"kind": None},
        {"call": "7"},
        {"call": True},
        {"call": 7.0},
        {"call": None},
        {"codec": "pickle"},
        {"fingerprint": {"algorithm": "sha-256"}},
        {"fingerprint": {"algorithm": "sha-256", "value": "\u20ac"}},
        {"more": 1},
    ],
)
def test_what_is_not_of_its_type_is_refused(change: dict[str, Any]) -> None:
    data = json.loads(pack(MESSAGES[5])[4:]) | change
    with pytest.raises(BadFrame):
        read(json.dumps(data).encode(), legs.UP)


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["kind", "call", "rtp", "calls", "version", "capture"]), inner | st.sampled_from(list(legs.UP)), max_size=4,
    ), max_leaves=12,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_whatever_comes_is_a_message_or_refused(body: bytes) -> None:
    try:
        message = read(body, legs.UP)
    except BadFrame:
        return
    assert type(message).__name__ in legs.UP


async def _link(sent: list[bytes]) -> tuple[list[object], int]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    came, lost = list[object](), list[bool]()
    link = Link(legs.UP, came.append, lambda: lost.append(True))
    await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
    for part in sent:
        theirs.send(part)
        await asyncio.sleep(0.01)
    theirs.close()
    await asyncio.sleep(0.02)
    return came, len(lost)


def test_a_message_in_pieces_and_several_in_one_are_taken() -> None:
    first, second = pack(legs.Over(1)), pack(legs.Over(2))
    both = first + second
    assert asyncio.run(_link([both[:3], both[3:20], both[20:]])) == ([legs.Over(1), legs.Over(2)], 1)


@pytest.mark.parametrize("bad", [struct.pack("!I", MAX_FRAME + 1), struct.pack("!I", 2) + b"{}"])
def test_a_peer_that_sends_no_message_is_lost_at_once(bad: bytes) -> None:
    assert asyncio.run(_link([pack(legs.Over(1)) + bad + pack(legs.Over(2))])) == ([legs.Over(1)], 1)


@given(st.integers(1024, 60_000), st.integers(1, 5_000), st.integers(1, 16))
def test_shares_of_the_ports_are_apart_and_each_has_one(low: int, size: int, processes: int) -> None:
    try:
        found = shares((low, low + size), processes)
    except RefusedStart:
        assert size < 2 * processes + 2
        return
    assert len(found) == processes
    even = [set(range(first + first % 2, last + 1, 2)) for first, last in found]
    assert all(even)
    assert len(set.union(*even)) == sum(map(len, even))
    assert min(set.union(*even)) >= low
    assert max(last for _, last in found) <= low + size
