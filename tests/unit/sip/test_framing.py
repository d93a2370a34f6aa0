import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbell.sip.framing import BrokenStream, Framer

ONE = b"OPTIONS sip:a@h SIP/2.0\r\nVia: x\r\nContent-Length: 5\r\n\r\nhello"
TWO = b"SIP/2.0 200 OK\r\nl : 0\r\n\r\n"


@given(st.lists(st.integers(1, len(ONE + TWO) * 2), max_size=12))
def test_it_finds_messages_however_the_stream_is_cut(cuts: list[int]) -> None:
    stream = ONE + TWO + b"\r\n\r\n" + ONE
    framer, got, start = Framer(), [], 0
    for cut in [*sorted(cuts), len(stream)]:
        got += framer.feed(stream[start:cut])
        start = max(start, cut)
    assert got == [ONE, TWO, ONE]
    assert not framer.waiting


def test_it_takes_single_bytes() -> None:
    framer = Framer()
    assert [m for n in range(len(ONE)) for m in framer.feed(ONE[n : n + 1])] == [ONE]


def test_it_counts_keep_alives() -> None:
    framer = Framer()
    assert framer.feed(b"\r\n\r\n\r\n\r\n") == []
    assert framer.pings == 2
    assert framer.feed(b"\r\n" + TWO) == [TWO]


@pytest.mark.parametrize(
    "stream",
    [
        b"OPTIONS sip:a@h SIP/2.0\r\nVia: x\r\n\r\n",
        b"OPTIONS sip:a@h SIP/2.0\r\nl: 5\r\nContent-Length: 5\r\n\r\n",
        b"OPTIONS sip:a@h SIP/2.0\r\nl: 99999\r\n\r\n",
        b"OPTIONS sip:a@h SIP/2.0\r\nl: -1\r\n\r\n",
        b"OPTIONS sip:a@h SIP/2.0\r\n" + b"X: y\r\n" * 6000,
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"x" * 9000,
        b"hello\r\nthere",
    ],
)
def test_it_gives_up_on_a_stream_that_it_cannot_follow(stream: bytes) -> None:
    with pytest.raises(BrokenStream):
        Framer().feed(stream)
