"""What a message keeps of a recording, from the marks alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbell.core.capture import AudioPacket, Codec, Mark
from nightbell.mailbox.parts import MARGIN, NAMES, RATE, Cut, cut
from nightbell.mailbox.rules import fit, recorded
from nightbell.sip.rtp import Placement, RtpPacket

BEGAN = 7000  # milliseconds since the answer


def marks(*told: tuple[float, str]) -> list[Mark]:
    """(seconds since the recording began, name)."""
    return [Mark(BEGAN, "recording"), *(Mark(BEGAN + round(at * 1000), name) for at, name in told)]


def shown(made: Cut | None) -> list[tuple[str, float, float, bool]]:
    assert made is not None
    return [(p.name, p.start / RATE, p.end / RATE, p.earlier) for p in made.parts]


def test_it_keeps_all_of_a_recording_without_parts() -> None:
    assert cut([Mark(5000, "recording"), Mark(5000, "stage:tone")], 8000) is None
    assert cut([Mark(5000, "part:message")], 8000) is None, "where the sound begins is not known"


def test_it_keeps_a_part_with_a_little_on_both_sides() -> None:
    made = cut(marks((2, "part:message"), (5, "part-end")), 10 * RATE)
    assert made is not None
    assert made.pieces == ((2 * RATE - MARGIN, 5 * RATE + MARGIN),)
    assert shown(made) == [("message", 0.15, 3.15, False)]
    assert made.own == 3 * RATE


def test_parts_that_touch_are_one_piece_and_no_sound_comes_twice() -> None:
    made = cut(
        marks(
            (0, "part:name"),
            (1, "part-end"),
            (1.2, "part:dob"),
            (2, "part-end"),
            (8, "part:reason"),
            (9, "part-end"),
        ),
        10 * RATE,
    )
    assert made is not None
    assert made.pieces == ((0, 2 * RATE + MARGIN), (8 * RATE - MARGIN, 9 * RATE + MARGIN))
    assert shown(made) == [("name", 0, 1, False), ("dob", 1.2, 2, False), ("reason", 2.3, 3.3, False)]


def test_the_last_take_comes_first_and_the_earlier_ones_are_kept_behind_it() -> None:
    told = marks(
        (0, "part:message"), (2, "part-end"), (4, "take"), (4, "part:message"), (7, "part-end"), (7, "take"),
        (8, "part:message"), (9, "part-end"), (10, "part:more"), (11, "part-end"),
    )  # fmt: skip
    made = cut(told, 12 * RATE)
    assert made is not None
    assert [round(start / RATE, 2) for start, _ in made.pieces] == [7.85, 9.85, 0.0, 3.85]
    assert [(name, earlier) for name, _, _, earlier in shown(made)] == [
        ("message", False), ("more", False), ("message", True), ("message", True),
    ]  # fmt: skip


def test_a_take_in_which_nothing_was_said_supersedes_nothing() -> None:
    made = cut(marks((0, "part:message"), (6, "part-end"), (8, "take")), 8 * RATE)
    assert shown(made) == [("message", 0, 6, False)]


def test_a_part_without_an_end_keeps_everything_to_the_end_of_the_sound() -> None:
    made = cut(marks((1, "part:name"), (2, "part-end"), (3, "part:reason")), 9 * RATE)
    assert made is not None
    assert made.pieces[-1][1] == 9 * RATE
    assert shown(made)[-1] == ("reason", pytest.approx(1.45), pytest.approx(7.45), False)


def test_an_unfinished_part_of_an_earlier_take_ends_where_the_next_take_begins() -> None:
    made = cut(marks((0, "part:message"), (3, "take"), (5, "part:message"), (6, "part-end")), 7 * RATE)
    assert [name for name, *_ in shown(made)] == ["message", "message"]
    assert made is not None
    assert made.own == 4 * RATE


def test_a_name_that_is_not_known_is_still_a_message() -> None:
    assert shown(cut(marks((0, "part:tattoo"), (1, "part-end")), RATE)) == [("message", 0, 1, False)]


def test_parts_without_sound_are_nothing() -> None:
    assert cut(marks((3, "part:message")), 2 * RATE) == Cut((), (), 0)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 20_000),
            st.sampled_from(["take", "part-end", *(f"part:{name}" for name in sorted(NAMES))]),
        ),
        max_size=12,
    ),
    st.integers(0, 18 * RATE),
)
def test_whatever_the_marks_are_pieces_lie_within_and_parts_within_what_is_stored(
    told: list[tuple[int, str]], length: int
) -> None:
    made = cut([Mark(BEGAN, "recording"), *(Mark(BEGAN + at, name) for at, name in told)], length)
    if made is None:
        assert not any(name.startswith("part:") for _, name in told)
        return
    assert all(0 <= start < end <= length for start, end in made.pieces)
    stored = sum(end - start for start, end in made.pieces)
    assert all(0 <= part.start < part.end <= stored for part in made.parts)
    assert made.own <= stored
    current = [part for part in made.parts if not part.earlier]
    assert all(one.start <= other.start for one, other in pairwise(current))


MARKS = [
    Mark(0, "recording"), Mark(0, "part:name"), Mark(10_000, "part-end"), Mark(14_000, "part:reason"),
    Mark(17_000, "part-end"),
]  # fmt: skip


def _recorded(began: float | None) -> list[AudioPacket]:
    """A caller whose telephone sends nothing while silent: the name from 3 to 5 s, the reason from 14.6 to 16.6 s."""
    placement, packets = Placement(began=began), []
    for start, end in ((3.0, 5.0), (14.6, 16.6)):
        for number in range(round((end - start) / 0.02)):
            now = start + number * 0.02
            offset = placement.place(RtpPacket(0, False, 0, int(now * 8000), 7, b"\x10" * 160), now)
            assert offset is not None
            packets.append(AudioPacket(offset, b"\x10" * 160))
    return packets


def _kept(packets: list[AudioPacket]) -> int:
    """How many packets lie in what is stored."""
    length = max(packet.offset for packet in packets) + 160
    found = cut(MARKS, length, recorded(fit(packets, Codec.PCMU).places))
    assert found is not None
    return sum(any(start <= p.offset < end for start, end in found.pieces) for p in packets)


def test_an_answer_lies_in_its_own_part_though_nothing_came_before_it() -> None:
    packets = _recorded(0.0)
    found = cut(MARKS, max(p.offset for p in packets) + 160, recorded(fit(packets, Codec.PCMU).places))
    assert found is not None
    assert [part.name for part in found.parts] == ["name", "reason"]
    assert _kept(packets) == len(packets)


def test_what_lies_in_no_part_is_kept_all_the_same() -> None:
    packets = _recorded(None)  # placed from its first packet on, as by a telephone whose clock stood still
    assert _kept(packets) == len(packets)
