"""The media engine over real UDP sockets: loss, disorder, doubles, strangers, moving peers, playing."""

from __future__ import annotations

import itertools
import random
import socket
import threading
import time
from collections.abc import Callable

import pytest
from tests.unit.phone.rtp_phone import Listener, Phone, Taken, audio, opened, quiet, until

from nightbell.core.capture import Codec
from nightbell.phone.media import LANES, SLICES, STEP, Media, NoPort
from nightbell.phone.session import Peer
from nightbell.sip.dtmf import key_press
from nightbell.sip.rtp import RtpPacket


def test_it_gives_even_ports_and_takes_them_back(media: Media, phone: Phone) -> None:
    session = media.open(phone.peer(), Listener())
    assert session.local[1] % 2 == 0
    until(lambda: media.open_ports == 1)
    session.close()
    until(lambda: media.open_ports == 0)
    again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    again.bind(session.local)
    again.close()


def test_it_says_so_when_every_port_is_taken(phone: Phone) -> None:
    held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    held.bind(("127.0.0.1", 0))
    port = held.getsockname()[1]
    engine = Media("127.0.0.1", (port - port % 2, port - port % 2 + 1), lambda *_: None)
    if port % 2:  # only even ports are used: hold that one
        held.close()
        held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        held.bind(("127.0.0.1", port - 1))
    with pytest.raises(NoPort, match="NIGHTBELL_RTP_PORTS"):
        engine.open(phone.peer(), Listener())
    held.close()
    engine.close()


PATTERNS: dict[str, Callable[[list[int]], list[int]]] = {
    "in order": lambda order: order,
    "5 % lost": lambda order: [n for n in order if n == 0 or (random.Random(5).random() > 0 and n % 20)],
    "re-ordered": lambda order: [
        order[0],
        *sorted(order[1:], key=lambda n: n + random.Random(n).uniform(0, 6)),
    ],
    "doubled": lambda order: [n for n in order for _ in range(1 + n % 2)],
    "late": lambda order: [n for n in order if n != 10] + [10],
    "all of it": lambda order: [
        order[0],
        *sorted(
            [n for n in order[1:] if n % 20] + [5, 6, 7], key=lambda n: n + random.Random(n).uniform(0, 9)
        ),
    ],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_it_places_every_packet_that_arrives_by_its_timestamp(
    media: Media, phone: Phone, pattern: str
) -> None:
    session, _, taken = opened(media, phone)
    sent = PATTERNS[pattern](list(range(200)))
    for number in sent:  # timestamps wrap within the first 46 packets
        phone.send(session, audio(number))
    quiet(session)
    assert taken == {number * 160: audio(number).payload for number in set(sent)}
    assert session.counters.doubled == len(sent) - len(set(sent))


def test_it_believes_the_address_of_the_sdp_at_once_and_no_stranger_after_it(
    media: Media, phone: Phone
) -> None:
    session, listener, taken = opened(media, phone)
    stranger = Phone()
    stranger.send(session, audio(900, ssrc=66))
    quiet(session)
    assert taken == {}
    phone.send(session, audio(1))
    quiet(session)
    time.sleep(0.6)
    for number in range(50):
        stranger.send(session, audio(1000 + number, ssrc=66))
    for packet in key_press("1", 101, 0, 0, 66):
        stranger.send(session, packet)
    phone.send(session, audio(2))
    quiet(session)
    stranger.socket.close()
    first = min(taken)  # it was silent at first
    assert {at - first: said for at, said in taken.items()} == {0: audio(1).payload, 160: audio(2).payload}
    assert session.counters.strangers == 51 + len(key_press("1", 101, 0, 0, 66))
    assert listener.keys.empty()


def test_what_the_other_side_sends_is_a_sign_of_it_and_what_strangers_send_is_not(
    media: Media, phone: Phone
) -> None:
    session, _, _ = opened(media, phone)
    stranger = Phone()
    report, check = b"\x81\xc9\0\1\0\0\0\7", b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12)
    stranger.send(session, audio(1, ssrc=66))
    for data in (report, check):
        stranger.socket.sendto(data, session.local)
    quiet(session)
    assert session.counters.strangers == 2
    assert session.signs() == 0
    for number, data in enumerate((report, check)):
        phone.socket.sendto(data, session.local)
        until(lambda: session.signs() == number + 1)  # noqa: B023
    phone.send(session, audio(1))
    until(lambda: session.signs() > 2)
    stranger.socket.close()


def test_it_takes_the_first_that_speaks_when_the_sdp_address_stays_silent(media: Media, phone: Phone) -> None:
    listener, taken = Listener(), Taken()
    behind_nat = Peer(("192.0.2.1", 4000), Codec.PCMU, 0, 101)
    session = media.open(behind_nat, listener)
    session.record(taken)
    time.sleep(0.55)
    phone.send(session, audio(3))
    quiet(session)
    assert list(taken.values()) == [audio(3).payload]
    session.play([b"a" * 160], 1)
    assert phone.receive().payload


def test_it_lets_the_sdp_address_back_in_when_a_stranger_was_quicker(media: Media, phone: Phone) -> None:
    session, _, taken = opened(media, phone)
    stranger = Phone()
    time.sleep(0.55)
    stranger.send(session, audio(500, ssrc=66))
    quiet(session)
    phone.send(session, audio(1))
    quiet(session)
    stranger.send(session, audio(501, ssrc=66))
    quiet(session)
    stranger.socket.close()
    assert list(taken.values()) == [audio(500).payload, audio(1).payload]
    assert session.counters.strangers == 1


def test_it_follows_a_caller_that_moves(media: Media, phone: Phone) -> None:
    session, _, taken = opened(media, phone)
    phone.send(session, audio(0))
    quiet(session)
    other = Phone()
    session.retarget(other.peer())
    other.send(session, audio(1))
    quiet(session)
    other.socket.close()
    assert len(taken) == 2


def test_it_tells_each_key_once(media: Media, phone: Phone) -> None:
    session, listener, _ = opened(media, phone)
    sequence = 0
    for number, key in enumerate("159*#0"):
        packets = key_press(key, 101, sequence, 10_000 + 2_000 * number, 7)
        sequence += len(packets)
        for packet in packets:
            phone.send(session, packet)
    quiet(session)
    assert [listener.keys.get(timeout=1) for _ in range(6)] == list("159*#0")
    assert listener.keys.empty()


def test_it_bears_rubbish(media: Media, phone: Phone) -> None:
    session, _, taken = opened(media, phone)
    noise = random.Random(1)
    for size in (0, 1, 11, 12, 13, 200, 1500):
        phone.socket.sendto(noise.randbytes(size), session.local)
    phone.send(session, audio(1)._replace(payload_type=96))
    phone.send(session, audio(1)._replace(payload=b""))
    phone.send(session, audio(4))
    quiet(session)
    assert audio(4).payload in taken.values()
    assert len(taken) <= 2


def test_it_plays_frames_in_order_at_their_pace_and_tells_the_end(media: Media, phone: Phone) -> None:
    session, listener, _ = opened(media, phone)
    frames = [bytes([number]) * 160 for number in range(25)]
    began = time.monotonic()
    session.play(frames, 42)
    got = [phone.receive() for _ in range(25)]
    lasted = time.monotonic() - began
    assert [packet.payload for packet in got] == frames
    assert 0.4 < lasted < 0.9
    steps = {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(got)}
    assert steps == {160}
    assert listener.ends.get(timeout=1) == 42


def test_calls_that_take_turns_each_hear_every_frame_once(media: Media) -> None:
    # One more than there are turns: two calls share one, and all of them go on when some have left.
    frames = [bytes([number]) * 160 for number in range(10)]
    phones = [Phone() for _ in range(LANES * SLICES + 1)]
    pairs = [opened(media, phone) for phone in phones]
    for session, _, _ in pairs[::3]:
        session.close()
    for session, _, _ in pairs:
        session.play(frames, 1)
    for number, (phone, (session, listener, taken)) in enumerate(zip(phones, pairs, strict=True)):
        if number % 3:
            got = [phone.receive() for _ in range(10)]
            assert [packet.payload for packet in got] == frames
            assert {b.timestamp - a.timestamp & 0xFFFFFFFF for a, b in itertools.pairwise(got)} == {160}
            assert {b.sequence - a.sequence & 0xFFFF for a, b in itertools.pairwise(got)} == {1}
            assert listener.ends.get(timeout=1) == 1
            for count in (1, 2):  # the second comes to a call that is looked into less often
                phone.send(session, audio(count))
                until(lambda: len(taken) == count)  # noqa: B023
        phone.socket.close()
    for session, _, _ in pairs:
        session.close()
    until(lambda: media.open_ports == 0)
    assert not any((*media._brisk, *media._lanes, *media._talking))


@pytest.mark.parametrize(("send_silence", "least", "most"), [(False, 1, 3), (True, 40, 70)])
def test_it_keeps_the_way_open_while_nothing_is_played(
    media: Media, phone: Phone, send_silence: bool, least: int, most: int
) -> None:
    media.send_silence = send_silence
    session = media.open(phone.peer(), Listener())
    session.confirm()
    began = time.monotonic()
    time.sleep(1.1)
    until(lambda: session.counters.sent >= least, 5)
    assert session.counters.sent <= most * max(1.0, (time.monotonic() - began) / 1.2)
    first = phone.receive()
    assert first.payload == b"\xff" * 160


def test_it_falls_silent_when_told_and_says_no_end_of_what_was_cut(media: Media, phone: Phone) -> None:
    session, listener, _ = opened(media, phone)
    session.play([b"x" * 160] * 500, 1)
    phone.receive()
    session.play([b"y" * 160], 2)
    assert listener.ends.get(timeout=1) == 2
    assert listener.ends.empty()


def test_it_hears_a_voice_and_not_the_noise_of_a_quiet_line(media: Media, phone: Phone) -> None:
    session, _, _ = opened(media, phone)
    hush = bytes(random.Random(2).choice((0xFF, 0x7F, 0xFE, 0x7E)) for _ in range(160))
    for number in range(40):
        phone.send(session, audio(number)._replace(payload=hush))
    quiet(session)
    assert session.voice_at is None
    for number in range(40, 60):
        phone.send(session, audio(number)._replace(payload=bytes(random.Random(number).randbytes(160))))
    quiet(session)
    assert session.voice_at is not None


def test_it_sends_nothing_to_a_caller_on_hold(media: Media, phone: Phone) -> None:
    session = media.open(phone.peer(mute=True), Listener())
    session.confirm()
    session.play([b"x" * 160] * 10, 1)
    time.sleep(0.3)
    assert session.counters.sent == 0


def test_it_takes_what_has_arrived_when_recording_stops_and_nothing_after_it(
    media: Media, phone: Phone
) -> None:
    session, _, taken = opened(media, phone)
    phone.send(session, audio(0))
    quiet(session)
    busy, free = threading.Event(), threading.Event()

    def elsewhere() -> None:
        busy.set()
        free.wait(5)

    media.order(elsewhere)  # the machine is busy
    assert busy.wait(2)
    for number in range(1, 301):
        phone.send(session, audio(number))
    over = threading.Event()
    session.stop_recording(over.set)
    session.close()
    free.set()
    assert over.wait(2)
    assert len(taken) == 301
    phone.send(session, audio(301))
    until(lambda: media.open_ports == 0)
    assert len(taken) == 301


def test_it_goes_on_for_others_when_one_sink_fails(media: Media, phone: Phone) -> None:
    def broken(packets: list[tuple[int, bytes]], now: float) -> None:
        raise RuntimeError

    bad = media.open(phone.peer(), Listener())
    bad.record(broken)
    session, _, taken = opened(media, phone)
    phone.send(bad, audio(0))
    phone.send(session, audio(0))
    quiet(session)
    assert len(taken) == 1
    assert bad.counters.bad == 1


def test_it_sends_nothing_until_the_call_is_confirmed_and_then_every_word(media: Media, phone: Phone) -> None:
    media.send_silence = True
    listener = Listener()
    session = media.open(phone.peer(), listener)
    session.play([bytes([number]) * 160 for number in range(5)], 3)
    time.sleep(0.3)
    assert session.counters.sent == 0
    assert listener.ends.empty()
    session.confirm()
    assert [phone.receive().payload[0] for _ in range(5)] == list(range(5))
    assert listener.ends.get(timeout=1) == 3
    assert listener.sounds == 0


@pytest.mark.parametrize("packets", [[audio(0)], key_press("1", 101, 0, 0, 7)], ids=["sound", "key"])
def test_it_speaks_to_whoever_speaks_to_it(media: Media, phone: Phone, packets: list[RtpPacket]) -> None:
    listener = Listener()
    session = media.open(phone.peer(), listener)
    session.play([b"x" * 160], 1)
    for packet in packets:
        phone.send(session, packet)
    assert phone.receive().payload == b"x" * 160
    assert listener.sounds == 1


def test_it_takes_no_rubbish_and_no_stranger_for_a_caller(media: Media, phone: Phone) -> None:
    session = media.open(phone.peer(), Listener())
    session.play([b"x" * 160], 1)
    stranger = Phone()
    stranger.send(session, audio(0))
    phone.socket.sendto(b"\x80", session.local)
    phone.send(session, audio(0)._replace(payload_type=96))
    phone.send(session, audio(0)._replace(payload=b""))
    quiet(session)
    stranger.socket.close()
    assert session.counters.sent == 0


def test_the_next_port_does_not_follow_from_the_last(media: Media, phone: Phone) -> None:
    ports = [media.open(phone.peer(), Listener()).local[1] for _ in range(12)]
    assert {b - a for a, b in itertools.pairwise(ports)} != {2}
    assert len(set(ports)) == 12


def test_bursts_over_both_families_are_taken_whole(media: Media, phone: Phone) -> None:
    """A busy machine finds several packets in each socket: in turn of IPv4 and of IPv6, none is taken for a stranger's."""
    other = Phone("::1")
    listener, taken = Listener(), Taken()
    six = media.open(other.peer(), listener, "::1")
    six.confirm()
    six.record(taken)
    four, _, also_taken = opened(media, phone)
    for burst in range(4):
        for number in range(burst * 6, burst * 6 + 6):
            other.send(six, audio(number))
            phone.send(four, audio(number))
        time.sleep(0.1)
    quiet(four)
    assert (len(taken), len(also_taken)) == (24, 24)
    assert (six.counters.strangers, four.counters.strangers) == (0, 0)
    other.socket.close()


def test_no_two_packets_have_one_time_after_a_late_wake_up(phone: Phone) -> None:
    """Two steps at once: from then on the way of half of the calls is kept open a step before they may speak."""
    engine = Media("127.0.0.1", (39000, 39100), lambda *_: None)
    session = [engine.open(phone.peer(), Listener()) for _ in range(SLICES)][1]
    engine._obey()
    session.confirm()
    due = engine._work(1.2 * STEP, 0.0)
    while not session.counters.sent:
        due = engine._work(due, due)
    session.play([bytes([number]) * 160 for number in range(5)], 1)
    engine._obey()
    for _ in range(7 * SLICES):
        due = engine._work(due, due)
    got = [phone.receive() for _ in range(session.counters.sent)]
    times = [(packet.timestamp - got[0].timestamp & 0xFFFFFFFF) // 160 for packet in got]
    assert times == sorted(set(times))
    assert [packet.payload[0] for packet in got[1:6]] == list(range(5))
    engine.close()
