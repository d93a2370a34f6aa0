import pytest

from nightbell.sip.dtmf import DtmfDecoder, key_press, pack_event
from nightbell.sip.rtp import RtpPacket


def keys(packets: list[RtpPacket]) -> str:
    decoder = DtmfDecoder()
    return "".join(key for packet in packets if (key := decoder.feed(packet)))


def typed(text: str) -> list[RtpPacket]:
    packets: list[RtpPacket] = []
    for n, key in enumerate(text):
        packets += key_press(key, 101, len(packets), 1000 + 4000 * n, 5)
    return packets


def test_it_tells_each_press_once() -> None:
    assert keys(typed("1599*#ABCD0")) == "1599*#ABCD0"


def test_it_tells_a_press_whose_ends_are_lost() -> None:
    packets = [p for p in typed("11") if not p.payload[1] & 0x80]
    assert keys(packets) == "11"


def test_it_tells_a_press_of_which_only_an_end_arrived() -> None:
    assert keys([typed("7")[-1]]) == "7"


def test_a_sender_without_ends_presses_twice() -> None:
    packets = [
        RtpPacket(101, n in (0, 3), n, 0 if n < 3 else 4000, 5, pack_event(1, 160, False)) for n in range(6)
    ]
    assert keys(packets) == "11"


def test_a_lost_begin_and_lost_ends_do_not_merge_equal_presses() -> None:
    packets = [p for p in typed("22") if not p.marker and not p.payload[1] & 0x80]
    assert keys(packets) == "22"


def test_it_ignores_doubles_and_stragglers() -> None:
    packets = typed("12")
    assert keys(packets + packets[:5] + packets[-3:]) == "12"


def test_a_long_press_in_segments_is_one_press() -> None:
    first = [RtpPacket(101, n == 0, n, 0, 5, pack_event(3, 160 * (n + 1), False)) for n in range(400)]
    second = [RtpPacket(101, False, 400 + n, 64000, 5, pack_event(3, 160, n > 3)) for n in range(6)]
    assert keys(first + second) == "3"


def test_a_sender_that_advances_the_timestamp_still_presses_once() -> None:
    packets = [RtpPacket(101, n == 0, n, 160 * n, 5, pack_event(4, 160 * (n + 1), n > 5)) for n in range(8)]
    assert keys(packets[:7]) == "4"


def test_it_ignores_short_payloads_and_other_events() -> None:
    assert (
        keys(
            [RtpPacket(101, True, 1, 1, 1, b"\x01"), RtpPacket(101, True, 2, 2, 1, pack_event(16, 1, False))]
        )
        == ""
    )


def test_a_new_source_may_press_the_same_key_at_the_same_time() -> None:
    one, other = (
        RtpPacket(101, True, 1, 9, 1, pack_event(1, 160, True)),
        RtpPacket(101, True, 1, 9, 2, pack_event(1, 160, True)),
    )
    assert keys([one, other]) == "11"


@pytest.mark.parametrize("key", ["", "E", "12", "é"])
def test_it_packs_only_keys(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        key_press(key, 101, 0, 0, 0)


def test_a_press_in_a_stream_of_opus_counts_in_its_clock() -> None:
    """RFC 4733 §2.1, RFC 7587 §4.1: 48,000 ticks a second, so a straggler of two seconds ago lies 96,000 behind."""
    decoder = DtmfDecoder(48_000)
    first = key_press("1", 102, 0, 1_000_000, 5, clock=48_000)
    second = key_press("2", 102, len(first), 1_096_000, 5, clock=48_000)
    packets = [*first[:-1], *second, first[-1]]
    assert [key for packet in packets if (key := decoder.feed(packet))] == ["1", "2"]
    assert int.from_bytes(first[0].payload[2:4], "big") == 960
