import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbell.core.capture import Codec
from nightbell.sip.codecs import duration
from nightbell.sip.rtp import BadRtp, Placement, RtpPacket, pack, unpack

FRAME = b"\x55" * 160
ANY_PACKET = st.builds(
    RtpPacket,
    st.integers(0, 63),
    st.booleans(),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.binary(max_size=400),
)


def at(timestamp: int, ssrc: int = 7, payload: bytes = FRAME) -> RtpPacket:
    return RtpPacket(0, False, 0, timestamp % 2**32, ssrc, payload)


@given(ANY_PACKET)
def test_it_reads_what_it_packed(packet: RtpPacket) -> None:
    assert unpack(pack(packet)) == packet


def test_it_reads_past_sources_extension_and_padding() -> None:
    head = bytes([0x80 | 0x20 | 0x10 | 2, 0x80 | 8]) + b"\x00\x01" + b"\x00\x00\x00\x02" + b"\x00\x00\x00\x03"
    data = head + b"CCCCDDDD" + b"\xbe\xde\x00\x01EEEE" + b"sound" + b"\x00\x00\x03"
    assert unpack(data) == RtpPacket(8, True, 1, 2, 3, b"sound")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80" * 11,
        b"\x40" + b"\x00" * 20,
        b"\x80\xc8" + b"\x00" * 20,
        b"\x8f\x00" + b"\x00" * 20,
        b"\x90\x00" + b"\x00" * 10 + b"\x00",
        b"\x90\x00" + b"\x00" * 10 + b"\x00\x00\xff\xff" + b"\x00" * 8,
        b"\xa0\x00" + b"\x00" * 10 + b"\x00",
        b"\xa0\x00" + b"\x00" * 10 + b"\xff",
    ],
)
def test_it_refuses_what_is_not_rtp(data: bytes) -> None:
    with pytest.raises(BadRtp):
        unpack(data)


@given(st.binary(max_size=64))
def test_it_never_fails_otherwise_on_garbage(data: bytes) -> None:
    try:
        unpack(data)
    except ValueError:
        return


def test_it_places_in_order_by_timestamp_and_leaves_gaps() -> None:
    place = Placement().place
    assert [place(at(1000 + n)) for n in (0, 160, 480)] == [0, 160, 480]


def test_it_places_across_the_wrap_of_the_timestamp() -> None:
    place = Placement().place
    assert [place(at(2**32 - 160 + n)) for n in (0, 160, 320)] == [0, 160, 320]


def test_it_places_late_ones_right_and_drops_doubles() -> None:
    placement = Placement()
    assert [placement.place(at(n)) for n in (0, 320, 160, 160, 320, 480)] == [0, 320, 160, None, None, 480]
    assert placement.end == 640


def test_it_drops_what_lies_before_the_start() -> None:
    placement = Placement(start=1000)
    assert placement.place(at(840)) is None
    assert placement.place(at(1160)) == 160


def test_it_joins_a_new_source_where_the_old_one_ended() -> None:
    place = Placement().place
    assert [place(at(0)), place(at(160)), place(at(99999, ssrc=8)), place(at(99999 + 160, ssrc=8))] == [
        0,
        160,
        320,
        480,
    ]
    assert place(at(320, ssrc=7)) is None  # the old source's slot is taken by the new one


def test_it_joins_a_wild_jump_and_loses_nothing_of_either_line() -> None:
    place = Placement().place
    assert [place(at(0)), place(at(2**31)), place(at(160)), place(at(320))] == [0, 160, None, 320]


def test_it_joins_by_elapsed_time_where_known() -> None:
    placement = Placement()
    placement.place(at(0), now=10.0)
    assert placement.place(at(5000, ssrc=9), now=11.0) == 8000


def test_it_ignores_empty_payloads() -> None:
    assert Placement().place(at(0, payload=b"")) is None


@given(st.permutations(range(20)), st.integers(0, 2**32 - 1))
def test_it_places_any_order_alike_once_the_start_is_known(order: list[int], start: int) -> None:
    placement = Placement(start=start)
    assert all(placement.place(at(start + 160 * n)) == 160 * n for n in order)


def test_it_counts_in_the_ticks_of_the_codec() -> None:
    opus = Placement(codec=Codec.OPUS)
    frame = b"\x78" + bytes(40)  # 20 ms
    assert [opus.put(n * 960, 7, duration(Codec.OPUS, frame), 1.0) for n in (0, 1, 3, 2, 2)] == [
        0, 960, 2880, 1920, None,
    ]  # fmt: skip
    assert opus.place(RtpPacket(0, False, 0, 4 * 960, 7, b"\xff"), 1.0) is None  # malformed: it lasts nothing
    assert opus.put(4 * 960 + 29 * 48_000, 7, 960, 1.0) == 4 * 960  # too far ahead of time: joined
    g722 = Placement(codec=Codec.G722)
    assert [g722.place(at(n)) for n in (0, 160)] == [0, 160]


def test_what_comes_late_fills_its_gap_and_nothing_twice() -> None:
    place = Placement().place
    assert [place(at(n * 160)) for n in (0, 1, 5, 9)] == [0, 160, 800, 1440]
    assert [place(at(n * 160)) for n in (3, 7, 3, 7, 5, 2)] == [480, 1120, None, None, None, 320]
    assert place(at(6 * 160, payload=FRAME[:80])) == 960
    assert place(at(6 * 160 + 80, payload=FRAME[:80])) == 1040
    assert place(at(6 * 160)) is None


def test_a_flood_of_gaps_is_bounded() -> None:
    placement = Placement()
    for n in range(5000):
        placement.place(at(n * 320))
    assert len(placement._holes) <= 256
    assert placement.place(at(4998 * 320 + 160)) == 4998 * 320 + 160


@given(st.lists(st.integers(0, 40), min_size=1, max_size=120), st.integers(0, 2**32 - 1))
def test_each_packet_is_taken_once_whatever_comes_in_which_order(order: list[int], start: int) -> None:
    placement = Placement(start=start)
    taken = [placement.put((start + 160 * n) % 2**32, 7, 160, 0.0) for n in order]
    assert [offset for offset in taken if offset is not None] == [160 * n for n in dict.fromkeys(order)]
