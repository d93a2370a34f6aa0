"""What a caller said, to be heard again: in order, without the line's own pauses, and never without a bound."""

from __future__ import annotations

import threading

import pytest

from nightbell.core.capture import Codec
from nightbell.phone.take import LONGEST, Budget, Take
from nightbell.sip import codecs, g711

SILENCE = g711.silence(160, Codec.PCMU)


def frame(number: int) -> bytes:
    return bytes([number % 200 + 1]) * 160


def told(offsets: list[int], budget: Budget | None = None) -> Take:
    take = Take(budget or Budget())
    for offset in offsets:
        take.hear(offset * 160, frame(offset))
    return take


def test_it_plays_what_was_said_in_order() -> None:
    assert told([0, 2, 1, 3]).frames(Codec.PCMU) == [frame(number) for number in range(4)]


def test_it_has_nothing_to_play_before_anything_was_said() -> None:
    assert Take(Budget()).frames(Codec.PCMU) == []


@pytest.mark.parametrize("codec", [Codec.PCMU, Codec.PCMA, Codec.G722])
def test_it_fills_what_was_lost_with_silence(codec: Codec) -> None:
    quiet = codecs.silence(codec)
    assert told([0, 1, 4]).frames(codec) == [frame(0), frame(1), quiet, quiet, frame(4)]


def opus(*packets: tuple[int, bytes]) -> list[bytes]:
    """What is played of (offset in milliseconds, packet)."""
    take = Take(Budget())
    for offset, packet in packets:
        take.hear(offset * 48, packet)
    return take.frames(Codec.OPUS)


SPOKEN = [bytes([0x48]) + bytes([number]) * 40 for number in range(1, 10)]  # 20 ms each
QUIET = codecs.silence(Codec.OPUS)


def test_opus_is_played_as_it_came_in_order_with_silence_for_what_was_lost() -> None:
    heard = [(40, SPOKEN[2]), (0, SPOKEN[0]), (20, SPOKEN[1]), (100, SPOKEN[3])]
    assert opus(*heard) == [*SPOKEN[:3], QUIET, QUIET, SPOKEN[3]]
    assert opus((0, SPOKEN[0]), (9000, SPOKEN[1])) == SPOKEN[:2]  # the pause in which the line spoke


def test_opus_packets_of_60_ms_keep_their_time_and_those_of_10_ms_are_put_together() -> None:
    long, short = (
        bytes([0x58]) + b"long" * 20,
        [bytes([0x40]) + bytes([n]) * (240 + 10 * n) for n in range(4)],
    )
    assert [codecs.duration(Codec.OPUS, one) for one in (long, short[0])] == [2880, 480]
    assert opus((0, long), (60, SPOKEN[0])) == [long, b"", b"", SPOKEN[0]]
    joined = opus(*((10 * n, one) for n, one in enumerate(short)))
    assert [codecs.duration(Codec.OPUS, one) for one in joined] == [960, 960]
    assert all(one[1:] in joined[n // 2] for n, one in enumerate(short))


def test_opus_that_is_malformed_or_comes_twice_is_not_played() -> None:
    assert opus((0, SPOKEN[0]), (0, SPOKEN[0]), (20, b"\x4b"), (20, SPOKEN[1])) == SPOKEN[:2]


def test_many_small_payloads_cost_what_keeping_them_costs() -> None:
    take = Take(Budget())
    for number in range(LONGEST // 100):
        take.hear(number * 120, b"\x80")
    assert take.frames(Codec.OPUS)
    take.hear(0, b"\x80")
    assert take.frames(Codec.OPUS) == []


def test_it_leaves_out_the_pause_in_which_the_line_spoke() -> None:
    assert told([0, 1, 500]).frames(Codec.PCMU) == [frame(0), frame(1), frame(500)]
    assert len(told([0, 51]).frames(Codec.PCMU)) == 52  # a second at the most is taken for loss


def test_it_lets_a_later_payload_win_where_two_overlap() -> None:
    take = told([0, 1])
    take.hear(240, b"\x33" * 160)
    sound = b"".join(take.frames(Codec.PCMU))
    assert sound[:400] == frame(0) + frame(1)[:80] + b"\x33" * 160
    assert sound[400:] == SILENCE[:80]


def test_it_ends_in_a_whole_frame() -> None:
    take = Take(Budget())
    take.hear(0, b"\x33" * 100)
    assert take.frames(Codec.PCMU) == [b"\x33" * 100 + SILENCE[:60]]


def test_it_begins_anew_when_told_to_forget() -> None:
    budget = Budget(80_000)
    take = told([0, 1], budget)
    take.forget()
    take.forget()
    assert take.frames(Codec.PCMU) == []
    assert budget.take(80_000)
    budget.give_back(80_000)
    take.hear(7 * 160, frame(7))
    assert take.frames(Codec.PCMU) == [frame(7)]


def test_it_plays_nothing_back_of_what_is_too_long_to_keep() -> None:
    take = told(list(range(LONGEST // 160)))
    assert len(take.frames(Codec.PCMU)) == LONGEST // 160
    take.hear(LONGEST, frame(1))
    assert take.frames(Codec.PCMU) == []
    take.forget()
    take.hear(0, frame(1))
    assert take.frames(Codec.PCMU) == [frame(1)]


def test_all_takes_together_have_a_bound() -> None:
    budget = Budget(200_000)
    takes = [told([0], budget) for _ in range(3)]
    assert [bool(take.frames(Codec.PCMU)) for take in takes] == [True, True, False]
    takes[0].forget()
    assert told([0], budget).frames(Codec.PCMU)


def test_a_budget_is_whole_again_after_many_threads() -> None:
    budget = Budget(400_000)

    def calls() -> None:
        for _ in range(200):
            told([0, 1], budget).forget()

    threads = [threading.Thread(target=calls) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.take(400_000)
    assert not budget.take(1)
