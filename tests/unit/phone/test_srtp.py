"""Encrypted sound over real UDP sockets, against contexts of the library's own session class and a cipher of our own."""

from __future__ import annotations

import hashlib
import hmac
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pylibsrtp import Policy
from pylibsrtp import Session as Library
from tests.unit.phone.rtp_phone import Listener, Phone, Taken, audio, quiet, until

from nightbell.core.capture import Codec
from nightbell.phone.media import Media
from nightbell.phone.session import Peer, Session
from nightbell.sip.dtmf import key_press
from nightbell.sip.rtp import RtpPacket, pack, unpack
from nightbell.sip.srtp import PROFILES, SrtpKeys

_LIBRARY = {
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}
CM = "AES_CM_128_HMAC_SHA1_80"


def new_keys(profile: str = CM, seed: int = 1) -> SrtpKeys:
    size = sum(PROFILES[profile])
    return SrtpKeys(profile, random.Random(seed).randbytes(size), random.Random(seed + 100).randbytes(size))


class Caller(Phone):
    """A telephone that encrypts with the other half of the keys."""

    def __init__(self, keys: SrtpKeys) -> None:
        super().__init__()
        self.keys = keys
        kind = _LIBRARY[keys.profile]
        self._out = Library(Policy(keys.theirs, Policy.SSRC_ANY_OUTBOUND, 0, kind))
        self._in = Library(Policy(keys.ours, Policy.SSRC_ANY_INBOUND, 0, kind))

    def secured(self, **changes: Any) -> Peer:
        return replace(Peer(self.address, Codec.PCMU, 0, 101, keys=self.keys, secured=True), **changes)

    def seal(self, packet: RtpPacket) -> bytes:
        return self._out.protect(pack(packet))

    def send(self, to: Session, packet: RtpPacket) -> None:
        self.socket.sendto(self.seal(packet), to.local)

    def receive(self) -> RtpPacket:
        return unpack(self._in.unprotect(self.socket.recv(2048)))


@pytest.fixture
def caller() -> Iterator[Caller]:
    caller = Caller(new_keys())
    yield caller
    caller.socket.close()


def opened(media: Media, peer: Peer) -> tuple[Session, Listener, Taken]:
    listener, taken = Listener(), Taken()
    session = media.open(peer, listener)
    session.record(taken)
    return session, listener, taken


def ordered(media: Media) -> None:
    """Until the media thread has done what it was told."""
    done = threading.Event()
    media.order(done.set)
    assert done.wait(2)


@pytest.mark.parametrize("profile", _LIBRARY)
def test_it_hears_and_speaks_in_each_profile(media: Media, profile: str) -> None:
    caller = Caller(new_keys(profile))
    session, listener, taken = opened(media, caller.secured())
    for number in range(20):
        caller.send(session, audio(number))
    quiet(session)
    assert taken == {number * 160: audio(number).payload for number in range(20)}
    frames = [bytes([number]) * 160 for number in range(5)]
    session.play(frames, 3)
    assert [caller.receive().payload for _ in frames] == frames
    assert listener.ends.get(timeout=1) == 3
    assert listener.sounds == 1
    caller.socket.close()


def derived(key: bytes, salt: bytes, label: int, size: int) -> bytes:
    """RFC 3711 §4.3 with AES-256 (RFC 6188 §3), written from the text."""
    vector = int.from_bytes(salt, "big") ^ (label << 48)
    counter = (vector << 16).to_bytes(16, "big")
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(size))


def sealed_256(keys: SrtpKeys, packet: RtpPacket) -> bytes:
    """AES_256_CM_HMAC_SHA1_80 of a packet before the first roll-over."""
    key, salt = keys.theirs[:32], keys.theirs[32:]
    head, index = pack(packet)[:12], packet.sequence
    vector = int.from_bytes(derived(key, salt, 2, 14), "big") << 16 ^ packet.ssrc << 64 ^ index << 16
    cipher = Cipher(algorithms.AES(derived(key, salt, 0, 32)), modes.CTR(vector.to_bytes(16, "big")))
    body = head + cipher.encryptor().update(packet.payload)
    return body + hmac.new(derived(key, salt, 1, 20), body + bytes(4), hashlib.sha1).digest()[:10]


def test_it_hears_the_profile_that_the_library_has_no_name_for(media: Media, phone: Phone) -> None:
    keys = new_keys("AES_256_CM_HMAC_SHA1_80")
    peer = replace(phone.peer(), keys=keys, secured=True)
    session, _, taken = opened(media, peer)
    for number in range(5):
        phone.socket.sendto(sealed_256(keys, audio(number)), session.local)
    quiet(session)
    assert taken == {number * 160: audio(number).payload for number in range(5)}


def test_what_is_replayed_forged_or_cut_changes_nothing(media: Media, caller: Caller) -> None:
    session, listener, taken = opened(media, caller.secured())
    good = [caller.seal(audio(number)) for number in range(10)]
    keys = [caller.seal(packet) for packet in key_press("1", 101, 50, 9_000, 7)]
    other = Caller(new_keys(seed=9))
    bad = [one[:-1] + bytes([one[-1] ^ 1]) for one in good + keys]
    bad += [one[:40] for one in good] + [other.seal(audio(number)) for number in range(5)]
    bad += [pack(audio(number, ssrc=99)) for number in range(5)]
    session.play([b"x" * 160] * 3, 1)
    for data in bad:  # from the caller's own address: not even that is proof
        caller.socket.sendto(data, session.local)
    quiet(session)
    assert (taken, session.confirmed, session.counters.sent) == ({}, False, 0)
    assert session.counters.unauthentic == len(bad)
    for data in good:
        caller.socket.sendto(data, session.local)
    quiet(session)
    for data in good:
        caller.socket.sendto(data, session.local)
    quiet(session)
    first = min(taken)
    assert [taken[first + number * 160] for number in range(10)] == [audio(n).payload for n in range(10)]
    assert len(taken) == session.counters.received == session.counters.doubled == 10
    assert listener.keys.empty()
    other.socket.close()


LOSSES: dict[str, Callable[[list[int]], list[int]]] = {
    "5 % lost": lambda order: [n for n in order if n % 20 != 7],
    "re-ordered": lambda order: [
        order[0],
        *sorted(order[1:], key=lambda n: n + random.Random(n).uniform(0, 6)),
    ],
    "doubled": lambda order: [n for n in order for _ in range(1 + n % 2)],
}


@pytest.mark.parametrize("pattern", LOSSES)
def test_it_places_what_arrives_by_its_timestamp(media: Media, caller: Caller, pattern: str) -> None:
    session, _, taken = opened(media, caller.secured())
    packets = [caller.seal(audio(number)) for number in range(200)]
    sent = LOSSES[pattern](list(range(200)))
    for number in sent:
        caller.socket.sendto(packets[number], session.local)
    quiet(session)
    assert taken == {number * 160: audio(number).payload for number in set(sent)}
    assert session.counters.doubled == len(sent) - len(set(sent))


def test_it_tells_keys(media: Media, caller: Caller) -> None:
    session, listener, _ = opened(media, caller.secured())
    sequence = 0
    for number, key in enumerate("19#"):
        for packet in key_press(key, 101, sequence, 10_000 + 2_000 * number, 7):
            caller.send(session, packet)
            sequence += 1
    assert [listener.keys.get(timeout=1) for _ in range(3)] == list("19#")


def test_the_sequence_may_roll_over(media: Media, caller: Caller) -> None:
    session, _, taken = opened(media, caller.secured())
    for number in (*range(65_520, 65_536), *range(65_536, 65_600)):
        caller.send(session, audio(number))
    quiet(session)
    assert list(taken.values()) == [audio(number).payload for number in range(65_520, 65_600)]
    assert session.counters.unauthentic == 0


def test_a_caller_behind_a_nat_may_move_and_is_followed(media: Media, caller: Caller) -> None:
    session, _, taken = opened(media, caller.secured())
    caller.send(session, audio(0))
    quiet(session)
    before = caller.socket
    caller.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    caller.socket.bind(("127.0.0.1", 0))
    caller.socket.settimeout(2)
    caller.send(session, audio(1))
    quiet(session)
    session.play([b"z" * 160], 1)
    assert caller.receive().payload == b"z" * 160
    assert len(taken) == 2
    before.close()


def test_a_spray_at_every_port_changes_no_byte_and_gets_no_answer(media: Media) -> None:
    callers = [Caller(new_keys(seed=seed)) for seed in (1, 2)]
    lines = [opened(media, one.secured()) for one in callers]
    plain = Phone()
    lines.append(opened(media, plain.peer()))
    time.sleep(0.55)  # whoever may be believed without proof may be so from now on
    attacker = Caller(new_keys(seed=3))
    for phone, (session, _, _) in zip([*callers, plain], lines, strict=True):
        phone.send(session, audio(0))
        quiet(session)
        session.play([b"p" * 160] * 100, 1)
    noise = random.Random(4)
    for number in range(10_000):
        session = lines[number % 3][0]
        packet = audio(number, ssrc=7)
        forged = (pack(packet), attacker.seal(packet), noise.randbytes(182))[number % 5 % 3]
        attacker.socket.sendto(forged, session.local)
        if not number % 100:
            for phone, (one, _, _) in zip([*callers, plain], lines, strict=True):
                quiet(one, 0.002)  # what overflows the system's own buffer nobody can take
                phone.send(one, audio(1 + number // 100))
    for session, _, taken in lines:
        quiet(session)
        first = min(taken)
        assert {at - first: said for at, said in taken.items()} == {
            number * 160: audio(number).payload for number in range(101)
        }
    attacker.socket.settimeout(0.05)
    with pytest.raises(TimeoutError):
        attacker.socket.recv(2048)
    for phone in (*callers, plain, attacker):
        phone.socket.close()


def test_until_there_are_keys_nothing_is_sent_or_believed_and_then_every_word(
    media: Media, caller: Caller
) -> None:
    session, listener, taken = opened(media, caller.secured(keys=None))
    session.confirm()
    session.play([bytes([number]) * 160 for number in range(5)], 1)
    caller.socket.sendto(pack(audio(0)), session.local)
    for number in range(1, 4):
        caller.send(session, audio(number))
    time.sleep(0.15)
    assert (session.counters.sent, taken) == (0, {})
    session.secure(caller.keys)
    assert [caller.receive().payload[0] for _ in range(5)] == list(range(5))
    first = min(taken)
    assert [taken[first + n * 160] for n in range(3)] == [audio(number).payload for number in range(1, 4)]
    assert session.counters.unauthentic == 1
    assert listener.ends.get(timeout=1) == 1


def test_a_handshake_passes_by_and_only_from_whom_it_should(media: Media, caller: Caller) -> None:
    session, _, taken = opened(media, caller.secured(keys=None))
    heard: list[bytes] = []
    session.on_dtls = lambda data, source: heard.append(data)
    stranger = Phone()
    hello = bytes([22]) + b"hello" * 20
    stranger.socket.sendto(hello, session.local)
    for first in (19, 20, 63, 64):
        caller.socket.sendto(bytes([first]) + b"x" * 30, session.local)
    until(lambda: len(heard) == 2)
    quiet(session)
    assert [data[0] for data in heard] == [20, 63]
    session.send_raw(b"answer", b"")
    assert caller.socket.recv(100) == b"answer"
    assert (taken, session.counters.sent) == ({}, 0)
    session.secure(caller.keys)
    caller.send(session, audio(0))
    quiet(session)
    assert len(taken) == 1
    stranger.socket.close()


def test_the_same_keys_again_keep_the_encryption_and_new_ones_replace_it(
    media: Media, caller: Caller
) -> None:
    session, _, taken = opened(media, caller.secured())
    old = caller.seal(audio(0))
    caller.socket.sendto(old, session.local)
    quiet(session)
    session.play([b"1" * 160], 1)
    before = caller.receive()
    session.retarget(caller.secured(mute=False))
    session.retarget(caller.secured(keys=None))
    ordered(media)
    caller.socket.sendto(old, session.local)
    caller.send(session, audio(1))
    quiet(session)
    assert (session.counters.received, session.counters.doubled) == (2, 1)
    changed = Caller(new_keys(seed=5))
    session.retarget(changed.secured())
    changed.send(session, audio(2))
    caller.send(session, audio(3))
    quiet(session)
    assert (len(taken), session.counters.unauthentic) == (3, 1)
    session.play([b"2" * 160], 2)
    after = changed.receive()
    assert after.ssrc == before.ssrc
    assert 0 < (after.sequence - before.sequence) & 0xFFFF < 100
    changed.socket.close()


def test_reports_are_counted_and_nothing_else(media: Media, caller: Caller) -> None:
    session, _, taken = opened(media, caller.secured())
    caller.socket.sendto(b"\x80\xc9" + bytes(30), session.local)
    quiet(session)
    assert (session.counters.rtcp, session.counters.unauthentic, taken) == (1, 0, {})


def test_an_endless_change_of_sources_is_bounded(media: Media, caller: Caller) -> None:
    session, _, _ = opened(media, caller.secured())
    for number in range(60):
        caller.send(session, audio(number, ssrc=1000 + number))
    quiet(session)
    assert (session.counters.received, session.counters.bad) == (32, 28)


def test_it_takes_what_has_arrived_before_a_hold_and_at_the_end(media: Media, caller: Caller) -> None:
    session, _, taken = opened(media, caller.secured())
    caller.send(session, audio(0))
    quiet(session)
    done = threading.Event()
    for number in range(1, 40):
        caller.send(session, audio(number))
    session.hold()
    for number in range(40, 50):
        caller.send(session, audio(number))
    ordered(media)
    held = len(taken)
    assert held >= 40
    session.go_on()
    ordered(media)
    for number in range(50, 150):
        caller.send(session, audio(number))
    session.catch_up(done.set)
    assert done.wait(2)
    assert len(taken) == held + 100
    for number in range(150, 200):
        caller.send(session, audio(number))
    over = threading.Event()
    session.stop_recording(over.set)
    assert over.wait(2)
    assert len(taken) == held + 150
