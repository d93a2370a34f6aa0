"""Holding a recording while the line speaks: what was said before is taken, nothing in between, one time line."""

from __future__ import annotations

import random
import threading

from tests.unit.phone.rtp_phone import Listener, Phone, Taken, audio, opened, quiet, until

from nightbell.phone.media import Media
from nightbell.sip.dtmf import key_press


def ordered(media: Media) -> None:
    """Until the media thread has done what it was told."""
    done = threading.Event()
    media.order(done.set)
    assert done.wait(2)


def test_it_takes_nothing_on_hold_and_goes_on_at_its_place_on_the_time_line(
    media: Media, phone: Phone
) -> None:
    session, _, taken = opened(media, phone)
    for number in range(5):
        phone.send(session, audio(number))
    quiet(session)
    session.hold()
    ordered(media)
    for number in range(5, 55):  # a second in which the line speaks
        phone.send(session, audio(number))
    quiet(session)
    session.go_on()
    ordered(media)
    for number in range(55, 60):
        phone.send(session, audio(number))
    quiet(session)
    assert taken == {number * 160: audio(number).payload for number in [*range(5), *range(55, 60)]}
    assert session.counters.doubled == 0


def test_it_takes_what_had_arrived_before_the_hold(media: Media, phone: Phone) -> None:
    session, _, taken = opened(media, phone)
    phone.send(session, audio(0))
    quiet(session)
    busy, free = threading.Event(), threading.Event()

    def elsewhere() -> None:
        busy.set()
        free.wait(5)

    media.order(elsewhere)  # the machine is busy
    assert busy.wait(2)
    for number in range(1, 101):
        phone.send(session, audio(number))
    session.hold()
    free.set()
    until(lambda: len(taken) == 101)
    ordered(media)
    phone.send(session, audio(101))
    quiet(session)
    assert len(taken) == 101


def test_it_hears_a_voice_and_keys_on_hold(media: Media, phone: Phone) -> None:
    session, listener, taken = opened(media, phone)
    session.hold()
    ordered(media)
    for number in range(20):
        phone.send(session, audio(number)._replace(payload=random.Random(number).randbytes(160)))
    for packet in key_press("7", 101, 20, 20_000, 7):
        phone.send(session, packet)
    assert listener.keys.get(timeout=2) == "7"
    assert session.voice_at is not None
    assert taken == {}


def test_it_may_hold_before_it_records(media: Media, phone: Phone) -> None:
    session = media.open(phone.peer(), Listener())
    session.hold()
    session.go_on()
    taken = Taken()
    session.record(taken)
    phone.send(session, audio(0))
    quiet(session)
    assert len(taken) == 1
