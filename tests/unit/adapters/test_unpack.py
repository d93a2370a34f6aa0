"""Payloads of other people's encoders to PCM, in the cage; and what becomes of those that no decoder takes."""

from __future__ import annotations

import random
import subprocess
import sys
from array import array
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import pytest
from G722 import G722

from nightbell.adapters.sound import cage, unpack, unpack_child
from nightbell.adapters.sound.unpack import CagedUnpacker
from nightbell.core.capture import Codec
from nightbell.core.sound import MOST_CALL, WIDE, BadSound, SoundUnavailable
from nightbell.phone import encode
from nightbell.sip import codecs

Samples = np.ndarray


def wide_speech(seconds: float = 4.0, rate: int = 48000) -> Samples:
    """Harmonics that glide and breathe like a voice, up to 6 kHz and ever softer, with pauses in between."""
    at = np.arange(round(seconds * rate)) / rate
    pitch = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * at)) / rate
    voice = sum(np.sin(n * pitch + n * n) / n**1.3 for n in range(1, 40))
    loud = np.clip(np.sin(2 * np.pi * 1.3 * at) + 0.4, 0, None)
    return voice * loud / np.max(np.abs(voice * loud)) * 20000


def by_libopus(samples: Samples, options: dict[str, str], layout: str = "mono") -> list[bytes]:
    """Packets of the encoder that telephones have."""
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48000, layout, "s16"
    encoder.options, encoder.time_base = options, Fraction(1, 48000)
    encoder.open()
    frame, channels = encoder.frame_size, 2 if layout == "stereo" else 1
    pcm = np.repeat(np.rint(samples).astype("<i2")[: len(samples) // frame * frame], channels)
    out: list[bytes] = []
    for start in range(0, len(pcm), frame * channels):
        block = av.AudioFrame.from_ndarray(pcm[None, start : start + frame * channels], "s16", layout)
        block.sample_rate, block.pts = 48000, start // channels
        out += [bytes(packet) for packet in encoder.encode(block)]
    return out


def likeness(sent: Samples, heard: Samples) -> float:
    """The best correlation within 20 ms."""
    length = min(len(sent), len(heard)) - 400
    return max(float(np.corrcoef(sent[:length], heard[at : at + length])[0, 1]) for at in range(320))


def pcm(codec: Codec, payloads: Sequence[bytes], lost: int = 0) -> Samples:
    found = CagedUnpacker().unpack(codec, payloads)
    assert found.lost == lost
    return np.frombuffer(found.pcm, "<i2").astype(float)


def narrowed(samples: Samples, factor: int) -> Samples:
    """To 16,000 samples a second, without what lies above 7.5 kHz."""
    at = np.arange(-96, 97)
    taps = np.sinc(at / factor) * np.kaiser(193, 8.0) / factor
    return np.convolve(samples, taps, mode="same")[::factor]


def of_the_reference(packets: Sequence[bytes]) -> Samples:
    """What another build of the reference decoder makes of them at 48,000, brought to WIDE."""
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = 48000, "mono"
    decoder.open()
    blocks = [one.to_ndarray() for packet in packets for one in decoder.decode(av.Packet(packet))]
    return narrowed(np.concatenate(blocks, axis=1)[0].astype(float), 3)


@pytest.mark.parametrize(
    "options",
    [
        {"application": "voip", "b": "32000", "frame_duration": "20"},
        {"application": "voip", "b": "12000", "frame_duration": "60", "vbr": "on"},
        {"application": "voip", "b": "40000", "frame_duration": "10", "vbr": "off"},
        {"application": "lowdelay", "b": "64000", "frame_duration": "2.5"},
        {"application": "audio", "b": "64000", "frame_duration": "40"},
    ],
    ids=lambda options: options["frame_duration"],
)
def test_opus_of_any_telephone_is_what_the_reference_makes_of_it(options: dict[str, str]) -> None:
    packets = by_libopus(wide_speech(), options)
    heard = pcm(Codec.OPUS, packets)
    assert len(heard) == sum(codecs.duration(Codec.OPUS, packet) for packet in packets) // 3
    assert likeness(of_the_reference(packets), heard) > 0.98
    assert any(codecs.loud(Codec.OPUS, packet) for packet in packets)


def test_stereo_is_mixed() -> None:
    spoken = wide_speech(2.0)
    packets = by_libopus(spoken, {"application": "audio", "b": "64000", "frame_duration": "20"}, "stereo")
    heard = pcm(Codec.OPUS, packets)
    assert likeness(narrowed(spoken, 3), heard) > 0.95


def test_g722_of_another_encoder_is_what_was_spoken() -> None:
    spoken = narrowed(wide_speech(), 3)
    encoder = av.CodecContext.create("g722", "w")
    encoder.sample_rate, encoder.layout, encoder.format = WIDE, "mono", "s16"
    encoder.time_base = Fraction(1, WIDE)
    encoder.open()
    frame = av.AudioFrame.from_ndarray(np.rint(spoken).astype("<i2")[None, :-100], "s16", "mono")
    frame.sample_rate, frame.pts = WIDE, 0
    data = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    heard = pcm(Codec.G722, [data[at : at + 160] for at in range(0, len(data), 160)])
    assert likeness(spoken, heard) > 0.99
    assert 0.95 < np.std(heard) / np.std(spoken) < 1.05


def test_it_decodes_as_the_library_does_in_one_piece() -> None:
    """Cut into payloads of odd sizes: the decoder's memory goes through all of them."""
    data = G722(WIDE, 64000).encode(array("h", np.rint(narrowed(wide_speech(), 3)).astype("<i2").tobytes()))
    sizes, at, payloads = random.Random(3), 0, []
    while at < len(data):
        size = sizes.randint(1, 300)
        payloads.append(data[at : at + size])
        at += size
    whole = np.array(G722(WIDE, 64000).decode(data), dtype=float)
    assert np.array_equal(pcm(Codec.G722, payloads), whole)


def test_sound_over_full_scale_does_not_turn_around() -> None:
    square = np.where(np.arange(96000) // 100 % 2, 32767.0, -32767.0)
    packets = by_libopus(square, {"application": "audio", "b": "64000", "frame_duration": "20"})
    heard = pcm(Codec.OPUS, packets)
    assert np.sum(heard == 32767) > 1000  # it does go over: by a quarter
    assert likeness(narrowed(square, 3), heard) > 0.95


def test_a_malformed_packet_takes_no_place_and_is_counted() -> None:
    spoken = list(encode.frames(np.rint(narrowed(wide_speech(2.0), 6)).astype("<i2").tobytes(), Codec.OPUS))
    clean = pcm(Codec.OPUS, spoken)
    spoiled = [*spoken[:40], b"\x4b", b"", bytes(1400), *spoken[40:]]
    assert np.array_equal(pcm(Codec.OPUS, spoiled, lost=3), clean)


@pytest.mark.parametrize("seed", range(3))
def test_random_payloads_keep_their_time(seed: int) -> None:
    r = random.Random(seed)
    payloads = [r.randbytes(r.choice([1, 2, 3, 40, 160, 1275, 1276, 1500])) for _ in range(400)]
    ticks = [codecs.duration(Codec.OPUS, one) for one in payloads]
    assert len(pcm(Codec.OPUS, payloads, lost=ticks.count(0))) == sum(ticks) // 3
    assert len(pcm(Codec.G722, payloads)) == 2 * sum(map(len, payloads))


def test_what_a_decoder_gives_up_on_is_silence_and_the_rest_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """No such packet is known: a decoder that refuses one stands in for it."""
    spoken = by_libopus(wide_speech(2.0), {"application": "audio", "b": "64000"})
    true = unpack_child._opus
    odd = max(range(20, 80), key=lambda number: len(spoken[number]))

    def refuses(packets: list[bytes]) -> memoryview:
        until = packets.index(spoken[odd]) if spoken[odd] in packets else len(packets)
        return true(packets[:until]) if until else memoryview(b"")

    clean, _ = unpack_child.decode(Codec.OPUS, spoken)
    monkeypatch.setattr(unpack_child, "_opus", refuses)
    heard, lost = unpack_child.decode(Codec.OPUS, spoken)
    assert (len(heard), lost) == (len(clean), 1)
    assert heard[: odd * 640] == clean[: odd * 640]
    assert not any(heard[odd * 640 : (odd + 1) * 640])
    assert any(heard[(odd + 1) * 640 :])


def test_a_decoder_that_refuses_everything_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack_child, "_opus", lambda packets: memoryview(b""))
    heard, lost = unpack_child.decode(Codec.OPUS, [codecs.silence(Codec.OPUS)] * 500)
    assert (heard, lost) == (bytes(500 * 640), 500)


def test_more_than_an_hour_is_refused_before_anything_is_started() -> None:
    packet = bytes([11 << 3 | 1]) + b"ab"  # 120 ms
    with pytest.raises(BadSound, match="hour"):
        CagedUnpacker().unpack(Codec.OPUS, [packet] * (MOST_CALL * 1000 // 120 + 1))


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        (cage.End.TIMEOUT, BadSound),
        (cage.End.FAILED, BadSound),
        (cage.End.TOO_MUCH, BadSound),
        (cage.End.REFUSED, SoundUnavailable),
        (cage.End.BROKEN, SoundUnavailable),
    ],
)
def test_it_tells_what_cannot_work_from_what_can_be_mended(
    monkeypatch: pytest.MonkeyPatch, how: cage.End, kind: type[Exception]
) -> None:
    def ended(*_: object, **__: object) -> bytes:
        raise cage.Ended(how)

    monkeypatch.setattr(cage, "run_module", ended)
    with pytest.raises(kind):
        CagedUnpacker().unpack(Codec.G722, [bytes(160)])


def test_a_decoder_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(BadSound, match="timeout"):
        CagedUnpacker(seconds=0.01).unpack(Codec.G722, [bytes(160)])


def test_nothing_is_started_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_: pytest.fail("a process was started"))
    assert unpack.CagedUnpacker().unpack(Codec.OPUS, [b"", b"\x4b"]).lost == 2


def test_the_child_reads_no_more_than_it_was_given() -> None:
    """By itself, without the cage's parent: a last payload that is cut off is left out."""
    assert list(unpack_child.payloads(b"\0\2ab\0\1c\0\5de")) == [b"ab", b"c"]
    assert list(unpack_child.payloads(b"\0")) == []
    assert sys.modules["nightbell.adapters.sound.unpack_child"] is unpack_child
