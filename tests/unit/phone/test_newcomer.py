"""Whose plain sound is believed when a second source speaks from the same address."""

from __future__ import annotations

from tests.unit.phone.rtp_phone import Phone, audio, opened, quiet

from nightbell.phone.media import Media
from nightbell.phone.newcomer import KNOWN, MOST, Newcomer


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
