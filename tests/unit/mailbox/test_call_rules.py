"""Message, missed or a question; voices; numbers; the third call."""

from __future__ import annotations

import math
from array import array
from datetime import UTC, datetime, timedelta

import pytest
from tests.speech import clips

from nightbell.core.capture import EndReason
from nightbell.mailbox.marks import Said
from nightbell.mailbox.rules import (
    LEAST_VOICE_MS,
    RATE,
    digits,
    first_urgency,
    kind_of,
    third_calls,
    voiced_ms,
)

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
ALL = [*clips.names(), *clips.names("es")]


def scaled(pcm: bytes, decibels: float) -> bytes:
    samples = array("h")
    samples.frombytes(pcm)
    return array("h", (round(one * 10 ** (decibels / 20)) for one in samples)).tobytes()


def whispered(pcm: bytes, decibels: float) -> bytes:
    """The loudness of a voice on noise, which is what a whisper is. The noise is always the same."""
    samples = array("h")
    samples.frombytes(scaled(pcm, decibels))
    state, out = 1, array("h")
    for one in samples:
        state = (state * 1103515245 + 12345) % 2**31
        out.append(one if state & 65536 else -one)
    return out.tobytes()


def noise(seconds: float, level: int) -> bytes:
    """A line on which nobody speaks: hiss of at most `level`."""
    state, out = 7, array("h")
    for _ in range(int(seconds * RATE)):
        state = (state * 1103515245 + 12345) % 2**31
        out.append((state >> 8) % (2 * level + 1) - level)
    return out.tobytes()


@pytest.mark.parametrize("name", ALL)
def test_every_voice_is_heard_also_when_it_is_faint(name: str) -> None:
    pcm = clips.load(name).pcm
    assert voiced_ms(pcm) > 1000
    assert voiced_ms(scaled(pcm, -24)) > 500, "a phone held badly"
    assert voiced_ms(whispered(pcm, -30)) > 3 * LEAST_VOICE_MS


@pytest.mark.parametrize("level", [0, 8, 16, 40])
def test_a_silent_line_is_no_voice(level: int) -> None:
    assert voiced_ms(noise(10, level)) < LEAST_VOICE_MS


def test_a_click_is_no_voice_and_odd_bytes_are_no_trouble() -> None:
    click = bytes(16000) + scaled(clips.load("jfk").pcm[40000 : 40000 + 1600], 0) + bytes(16001)
    assert voiced_ms(click) < LEAST_VOICE_MS
    assert voiced_ms(b"") == voiced_ms(b"\x01") == 0


def test_a_steady_tone_may_pass_for_a_voice() -> None:
    hum = array("h", (round(400 * math.sin(i / 5)) for i in range(RATE))).tobytes()
    assert voiced_ms(hum) == 1000


@pytest.mark.parametrize(
    ("said", "spoken", "samples", "voiced", "kind"),
    [
        (Said(), 2 * RATE, 2 * RATE, 900, "message"),
        (Said(), RATE - 1, 2 * RATE, 900, "missed"),
        (Said(), 9 * RATE, 9 * RATE, LEAST_VOICE_MS - 20, "missed"),
        (Said(), 9 * RATE, 9 * RATE, LEAST_VOICE_MS, "message"),
        (Said(), 0, 0, 0, "missed"),
        (Said(), None, 2 * RATE, 0, "message"),  # as an older phone's captures always were
        (Said(), None, RATE // 2, 0, "missed"),
        (Said(status="left", asking=True), 0, 0, 0, "status"),
        (Said(status="left", asking=True), None, 0, 0, "status"),
        (Said(status="none", asking=True), 0, 0, 0, "missed"),
        (Said(status="left"), 0, 0, 0, "missed"),  # asked, went on to a message, left none
        (Said(status="left", asking=True), RATE // 2, RATE, 300, "missed"),
        (Said(status="left", asking=True), 3 * RATE, 3 * RATE, 900, "message"),
        (Said(status="waiting", urgent=True), 0, 0, 0, "missed"),  # must not be closed unseen
        (Said(status="waiting", joins="x"), 0, 0, 0, "missed"),
    ],
)
def test_what_a_call_becomes(said: Said, spoken: int | None, samples: int, voiced: int, kind: str) -> None:
    assert kind_of(said, spoken, samples, voiced) == kind


@pytest.mark.parametrize(
    ("said", "kind", "end", "urgency"),
    [
        (Said(urgent=True, review=True), "missed", EndReason.HANG_UP, "urgent"),
        (Said(joins="x"), "message", EndReason.POUND, "urgent"),
        (Said(review=True), "message", EndReason.POUND, "review"),
        (Said(), "missed", EndReason.HANG_UP, "review"),
        (Said(), "message", EndReason.INTERRUPTED, "review"),
        (Said(), "message", EndReason.POUND, "routine"),
        (Said(test=True, urgent=True), "message", EndReason.POUND, "routine"),
        (Said(status="left", review=True), "status", EndReason.HANG_UP, "routine"),
        (Said(unfetched=True), "message", EndReason.POUND, "review"),
        (Said(unfetched=True, urgent=True), "message", EndReason.POUND, "urgent"),
    ],
)
def test_how_urgent_a_call_is_at_first(said: Said, kind: str, end: EndReason, urgency: str) -> None:
    assert first_urgency(said, kind, end) == urgency


@pytest.mark.parametrize(
    ("number", "compared"),
    [
        ("+15035550148", "5035550148"), ("15035550148", "5035550148"), ("(503) 555-0148", "5035550148"),
        ("+442071838750", "442071838750"), ("", ""), ("anonymous", ""), ("٣٣", ""),
    ],
)  # fmt: skip
def test_numbers_are_compared_by_their_digits(number: str, compared: str) -> None:
    assert digits(number) == compared


def at(*minutes: float) -> list[tuple[datetime, str]]:
    return [(NOW + timedelta(minutes=m), str(m)) for m in minutes]


@pytest.mark.parametrize(
    ("minutes", "third"),
    [
        ((0, 5), set()),
        ((0, 5, 10), {"10"}),
        ((10, 0, 5), {"10"}),
        ((0, 10, 20), {"20"}),
        ((0, 10, 20.02), set()),
        ((0, 5, 10, 15), {"10", "15"}),
        ((0, 15, 25, 30), {"30"}),
    ],
)
def test_the_third_call_in_twenty_minutes(minutes: tuple[float, ...], third: set[str]) -> None:
    assert third_calls(at(*minutes)) == third
