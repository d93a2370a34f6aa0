import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightbell.core.capture import AudioPacket, CaptureMeta, Codec, Digit, End, EndReason, Mark
from nightbell.core.ids import new_ulid
from nightbell.sealing import epochs
from nightbell.sealing.capture import PEEK, CaptureSealer, open_capture, peek
from nightbell.sealing.errors import SealError, Truncated, UnknownFormat, WrongKey

EPOCH, PRIVATE = epochs.new_epoch()


def meta(**changes):
    values = {
        "capture": new_ulid(),
        "practice": new_ulid(),
        "mailbox": new_ulid(),
        "dialled": "+15550100",
        "caller": "+15559998877",
        "answered_at": "2026-11-24T03:00:00.000Z",
        "language": "en",
        "codec": Codec.PCMU,
        "snapshot": 7,
    }
    return CaptureMeta(**(values | changes))


def records(count=200, seed=1):
    chance = random.Random(seed)
    out = [Mark(900, "recording")]
    for n in range(count):
        out.append(AudioPacket(n * 160, chance.randbytes(160)))
        if n == 20:
            out.append(Digit(1300, "1"))
            out.append(Mark(1300, "urgent"))
    return out


def sealed(items, about=None, end=None):
    sealer = CaptureSealer(EPOCH, about or meta(), 0.0)
    data = sealer.header
    for n, item in enumerate(items):
        data += sealer.add(item, n / 50)
    return data + (sealer.finish(end, 9.0) if end else b"")


def flat(capture):
    return [*capture.packets], [*capture.digits], [*capture.marks]


def split(items):
    return [[i for i in items if type(i) is kind] for kind in (AudioPacket, Digit, Mark)]


def test_it_reads_back_what_was_recorded():
    about, items = meta(), records()
    data = sealed(items, about, End(5000, EndReason.HANG_UP))
    got = open_capture(data, PRIVATE)
    assert got.meta == about
    assert list(flat(got)) == split(items)
    assert (got.end, got.complete) == (End(5000, EndReason.HANG_UP), True)
    assert peek(data[:PEEK]) == (EPOCH.id, about.capture)


def test_the_metadata_is_safe_with_the_first_bytes_written():
    about = meta()
    got = open_capture(CaptureSealer(EPOCH, about, 0.0).header, PRIVATE)
    assert got.meta == about
    assert not got.complete
    assert got.end.reason is EndReason.INTERRUPTED


def test_a_silent_caller_is_sealed_within_a_second():
    sealer = CaptureSealer(EPOCH, meta(), 0.0)
    data = sealer.header + sealer.add(Digit(10, "5"), 1.0)
    assert sealer.pad(1.85) == b""
    closed = sealer.pad(1.91)
    assert len(closed) == 4096
    assert sealer.pad(9.0) == b""
    assert [d.key for d in open_capture(data + closed, PRIVATE).digits] == ["5"]


def test_the_age_counts_from_the_oldest_byte_of_the_open_segment():
    sealer = CaptureSealer(EPOCH, meta(), 0.0)
    now = 10.0
    while not sealer.add(AudioPacket(0, bytes(160)), now):
        now += 0.02
    assert sealer.pad(now + 0.89) == b""
    assert sealer.pad(now + 0.9) != b""


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_capture_cut_at_any_byte_gives_a_prefix(data):
    items = records(150)
    whole = sealed(items, end=End(5000, EndReason.POUND))
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        got = open_capture(whole[:cut], PRIVATE)
    except Truncated:
        assert cut < PEEK + epochs.SEALED_OVERHEAD + 32 + 4096
        return
    for found, said in zip(flat(got), split(items), strict=True):
        assert found == said[: len(found)]
    assert not got.complete
    kept = (cut - (PEEK + epochs.SEALED_OVERHEAD + 32)) // 4096 - 1
    assert len(got.packets) >= kept * 4080 // 167 - 2


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 7), st.data())
def test_a_flipped_bit_is_refused_or_shortens_but_never_alters(bit, data):
    items = records(150)
    whole = bytearray(sealed(items, end=End(5000, EndReason.POUND)))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << bit
    try:
        got = open_capture(bytes(whole), PRIVATE)
    except SealError:
        return
    for found, said in zip(flat(got), split(items), strict=True):
        assert found == said[: len(found)]
    assert not got.complete


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=1500))
def test_garbage_is_refused_by_type(data):
    for try_data in (data, b"NBCAP\x01" + data):
        with pytest.raises(SealError):
            open_capture(try_data, PRIVATE)


def test_another_epochs_key_opens_nothing():
    data = sealed(records(10), end=End(1, EndReason.LIMIT))
    with pytest.raises(WrongKey):
        open_capture(data, epochs.new_epoch()[1])
    with pytest.raises(UnknownFormat):
        open_capture(b"NBCAP\x02" + data[6:], PRIVATE)


def test_the_head_of_one_capture_does_not_fit_another():
    ours, other = sealed(records(30)), sealed(records(30))
    size = PEEK + epochs.SEALED_OVERHEAD + 32
    with pytest.raises(SealError):
        open_capture(ours[:size] + other[size:], PRIVATE)


def test_nothing_of_a_call_is_readable_in_its_file():
    about = meta(caller="+15551234567")
    items = [AudioPacket(n * 160, os.urandom(160)) for n in range(100)] + [Mark(5, "urgent")]
    data = sealed(items, about, End(1, EndReason.HANG_UP))
    for packet in items[:100]:
        for at in range(0, 160, 20):
            assert packet.payload[at : at + 12] not in data
    for word in (b"+15551234567", b"5551234567", b"urgent", about.mailbox.encode(), b"PCMU", b"hang_up"):
        assert word not in data


def test_records_that_cannot_be_framed_are_refused():
    sealer = CaptureSealer(EPOCH, meta(), 0.0)
    for record in (
        AudioPacket(0, bytes(65532)),
        AudioPacket(-1, b""),
        AudioPacket(2**32, b""),
        Digit(-1, "1"),
    ):
        with pytest.raises(ValueError):
            sealer.add(record, 0.0)
    with pytest.raises(ValueError):
        CaptureSealer(EPOCH, meta(capture="../../etc"), 0.0)
    sealer.finish(End(1, EndReason.LIMIT), 1.0)
    with pytest.raises(RuntimeError):
        sealer.add(Digit(1, "1"), 1.0)


def test_a_flush_makes_everything_so_far_recoverable():
    sealer = CaptureSealer(EPOCH, meta(), 0.0)
    data = sealer.header + sealer.add(Mark(3, "urgent"), 0.0) + sealer.flush()
    assert open_capture(data, PRIVATE).marks == (Mark(3, "urgent"),)
    assert sealer.flush() == b""


@pytest.mark.parametrize(
    ("codec", "payload", "ticks"),
    [(Codec.PCMU, bytes(160), 160), (Codec.G722, bytes(160), 160), (Codec.OPUS, b"\x48" + bytes(30), 960)],
)
def test_a_cut_capture_ends_with_its_last_sound_whatever_the_codec(codec, payload, ticks):
    items = [Mark(900, "recording"), *(AudioPacket(n * ticks, payload) for n in range(500))]
    found = open_capture(sealed(items, meta(codec=codec)), PRIVATE)
    last = found.packets[-1].offset // ticks
    assert last > 100
    assert found.end == End(900 + 20 * (last + 1), EndReason.INTERRUPTED)
