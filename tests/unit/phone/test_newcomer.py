"""Whose plain sound is believed when a second source speaks from the same address."""

from __future__ import annotations

import time

from tests.unit.phone.rtp_phone import Phone, audio, opened, quiet, until

from nightbell.phone.media import Media
from nightbell.phone.newcomer import KNOWN, MOST, MOST_PRESSES, Newcomer
from nightbell.phone.session import Session
from nightbell.sip.dtmf import key_press


def test_who_slips_in_while_the_caller_speaks_is_not_heard(media: Media, phone: Phone) -> None:
    session, _, taken = opened(media, phone)
    for number in range(100):
        phone.send(session, audio(number))
        phone.send(session, audio(500 + number, ssrc=66))
    quiet(session)
    assert taken == {number * 160: audio(number).payload for number in range(100)}
    assert session.counters.strangers >= 97


def test_a_new_source_of_the_carrier_is_heard_from_its_first_word() -> None:
    who = Newcomer()
    assert who.takes(audio(0), 1.0) == [audio(0)]
    who.heard(1.0)
    early = [audio(100 + number, ssrc=8) for number in range(3)]
    assert [who.takes(one, 1.05) for one in early] == [[], [], []]
    last = audio(103, ssrc=8)
    assert who.takes(last, 1.3) == [*early, last]
    assert who.takes(audio(104, ssrc=8), 1.3) == [audio(104, ssrc=8)]


def test_a_source_that_was_believed_is_not_shut_out_by_the_next() -> None:
    who = Newcomer()
    who.takes(audio(0), 1.0)
    who.heard(1.0)
    assert who.takes(audio(9, ssrc=8), 2.0)  # the caller was silent
    who.heard(2.0)
    assert who.takes(audio(1), 2.01) == [audio(1)]


def test_what_waits_is_dropped_when_the_caller_goes_on_and_taken_when_he_hangs_up() -> None:
    who = Newcomer()
    who.takes(audio(0), 1.0)
    who.heard(1.0)
    who.takes(audio(9, ssrc=8), 1.0)
    assert [who.heard(1.02), who.heard(1.04), who.heard(1.06)] == [0, 0, 1]
    assert who.last_words() == []
    who.takes(audio(9, ssrc=8), 1.07)
    assert who.last_words() == [audio(9, ssrc=8)]
    assert who.takes(audio(1), 1.08) == [audio(1)]


def test_what_waits_is_bounded_and_so_are_the_sources() -> None:
    who = Newcomer()
    who.takes(audio(0), 1.0)
    who.heard(1.0)
    assert sum(who.takes(audio(n, ssrc=8), 1.0) == [] for n in range(MOST + 50)) == MOST
    assert who.takes(audio(0, ssrc=9), 1.0) is None
    for number in range(100):
        who.learn(number)
    assert who.ssrc == 99
    assert who.takes(audio(0, ssrc=99 - KNOWN), 1.0) is None


def test_the_last_words_of_a_new_source_are_kept_at_the_end(media: Media, phone: Phone) -> None:
    session, _, taken = opened(media, phone)
    for number in range(10):
        phone.send(session, audio(number))
    for number in range(10, 15):
        phone.send(session, audio(number, ssrc=8))
    session.stop_recording()
    quiet(session)
    assert list(taken.values()) == [audio(number).payload for number in range(15)]


def press(session: Session, phone: Phone, key: str, ssrc: int) -> int:
    """One press, sent at once; how many packets it had."""
    packets = key_press(key, 101, 900, 77_000 + 2_000 * int(key.replace("#", "0")), ssrc)
    for packet in packets:
        phone.send(session, packet)
    return len(packets)


def test_a_key_that_is_slipped_in_while_the_caller_speaks_is_none(media: Media, phone: Phone) -> None:
    session, listener, taken = opened(media, phone)
    for number in range(20):
        phone.send(session, audio(number))
    sent = press(session, phone, "#", ssrc=66)
    for number in range(20, 40):
        phone.send(session, audio(number))
        time.sleep(0.01)
    until(lambda: len(taken) == 40)
    assert listener.keys.empty()
    assert session.counters.strangers == sent


def test_a_key_under_another_ssrc_counts_when_the_sound_paused_for_it(media: Media, phone: Phone) -> None:
    session, listener, _ = opened(media, phone)
    for number in range(20):
        phone.send(session, audio(number))
    press(session, phone, "5", ssrc=8)
    phone.send(session, audio(28))  # the 160 ms of the key are missing
    assert listener.keys.get(timeout=1) == "5"
    press(session, phone, "6", ssrc=8)  # and then nothing is said
    assert listener.keys.get(timeout=1) == "6"
    assert listener.keys.empty()


def test_the_callers_own_keys_wait_for_nothing(media: Media, phone: Phone) -> None:
    session, listener, _ = opened(media, phone)
    for number in range(10):
        phone.send(session, audio(number))
    press(session, phone, "1", ssrc=7)
    for number in range(10, 12):
        phone.send(session, audio(number))
    assert listener.keys.get(timeout=1) == "1"


def test_presses_that_wait_are_bounded_and_of_one_source() -> None:
    who = Newcomer()
    who.learn(7)
    packet = key_press("1", 101, 1, 1, 8)[0]
    assert sum(who.wait(packet, 1.0) for _ in range(2 * MOST_PRESSES)) == MOST_PRESSES
    assert not who.wait(packet._replace(ssrc=9), 1.0)
    who.until = 1_000
    assert who.paused(1_160, 8000) == []
    assert who.paused(1_320, 8000) == []
    assert who.paused(1_480, 8000) is None
    assert who.presses == []
