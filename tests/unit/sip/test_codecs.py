"""What is known of a payload without a decoder, held against decoders that are not ours."""

from __future__ import annotations

import io
from array import array

import numpy as np
import pytest
import soundfile
from G722 import G722
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nightbell.core.capture import Codec
from nightbell.sip import codecs, g711, ogg
from nightbell.sip.codecs import duration, joined, loud, silence

# RFC 6716 §3.1, table 2: milliseconds of one frame by configuration.
TABLE = [10, 20, 40, 60] * 3 + [10, 20] * 2 + [2.5, 5, 10, 20] * 4


def toc(config: int, code: int = 0) -> bytes:
    return bytes([config << 3 | code])


def decoded(*packets: bytes) -> int:
    """Ticks that a real decoder makes of them."""
    with soundfile.SoundFile(io.BytesIO(ogg.wrap(packets, 48000))) as file:
        return len(file.read(dtype="int16"))


@pytest.mark.parametrize("config", range(32))
def test_an_opus_packet_lasts_what_its_first_byte_says(config: int) -> None:
    frame = round(TABLE[config] * 48)
    body = bytes(range(10))
    two = body + body
    packets = {
        toc(config) + body: frame,
        toc(config, 1) + two: 2 * frame,
        toc(config, 2) + b"\x0a" + two[:17]: 2 * frame,
    }
    if 3 * frame <= 5760:
        packets[toc(config, 3) + b"\x03" + body[:9]] = 3 * frame
        packets[toc(config, 3) + b"\x83\x04\x02" + body] = 3 * frame
        packets[toc(config, 3) + b"\x43\x02" + body[:9] + b"\0\0"] = 3 * frame
    for packet, ticks in packets.items():
        assert duration(Codec.OPUS, packet) == ticks, packet.hex()
        assert decoded(packet) == ticks


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        toc(1, 1) + b"odd",  # R3: two of one size
        toc(1, 2),  # R4: no size
        toc(1, 2) + b"\xfc",
        toc(1, 2) + b"\x05abc",
        toc(1, 3),  # no count
        toc(1, 3) + b"\x00",  # R5: none at all
        toc(1, 3) + b"\x07" + b"x" * 7,  # 140 ms
        toc(31, 3) + b"\x31" + b"x" * 49,
        toc(1, 3) + b"\x02odd",  # R6: not divisible
        toc(1, 3) + b"\x42\xff",  # padding without an end
        toc(1, 3) + b"\x42\x09ab",  # more padding than there is
        toc(1, 3) + b"\x82\x09ab",  # R7: a first frame that is cut off
        toc(1, 3) + b"\x82",
        toc(1) + bytes(1276),  # R2
        toc(1, 1) + bytes(2552),
        toc(1, 2) + b"\x00" + bytes(1276),
        toc(1, 3) + b"\x81" + bytes(1276),
    ],
)
def test_a_malformed_opus_packet_lasts_nothing(packet: bytes) -> None:
    assert duration(Codec.OPUS, packet) == 0
    with pytest.raises(ValueError, match="malformed"):
        ogg.wrap([packet], 16000)


@given(st.binary(max_size=1400))
@example(toc(1, 3) + b"\xc3\xff\x01\x01\x01" + bytes(300))
@settings(max_examples=300, deadline=None)
def test_what_has_a_length_is_what_a_decoder_takes_and_lasts_as_long(packet: bytes) -> None:
    ticks = duration(Codec.OPUS, packet)
    assert ticks == 0 or 120 <= ticks <= 5760
    if ticks:
        assert decoded(packet, packet) == 2 * ticks
    for codec in (Codec.PCMU, Codec.PCMA, Codec.G722):
        assert duration(codec, packet) == len(packet)
    assert {type(loud(codec, packet)) for codec in Codec} == {bool}


@given(st.lists(st.binary(max_size=600), min_size=2, max_size=8), st.sampled_from([16, 17, 18, 20]))
@settings(max_examples=50, deadline=None)
def test_short_opus_packets_are_joined_to_one_that_lasts_as_long(frames: list[bytes], config: int) -> None:
    packet = joined([toc(config) + frame for frame in frames])
    assert duration(Codec.OPUS, packet) == len(frames) * round(TABLE[config] * 48)
    assert decoded(packet) == duration(Codec.OPUS, packet)


def test_packets_that_do_not_belong_together_are_not_joined() -> None:
    assert joined([toc(16) + b"a", toc(17) + b"b"]) == toc(17) + b"b"
    assert joined([toc(16, 1) + b"ab"] * 2) == toc(16, 1) + b"ab"
    assert joined([toc(16) + b"a"]) == toc(16) + b"a"


@pytest.mark.parametrize("codec", Codec)
def test_a_frame_of_silence_lasts_20_ms(codec: Codec) -> None:
    assert duration(codec, silence(codec)) == codecs.frame_ticks(codec) == codec.clock // 50
    assert not loud(codec, silence(codec))
    assert not loud(codec, b"")


def noise(level: float, seconds: float = 2.0) -> np.ndarray:
    """Noise of the band of a voice, `level` dBFS."""
    rough = np.random.default_rng(7).standard_normal(round(seconds * 16000))
    spectrum = np.fft.rfft(rough)
    hertz = np.fft.rfftfreq(len(rough), 1 / 16000)
    spectrum[(hertz < 300) | (hertz > 3000)] = 0
    wave = np.fft.irfft(spectrum)
    return wave / np.sqrt(np.mean(wave**2)) * 10 ** (level / 20) * 32767


def encoded(wave: np.ndarray, codec: Codec) -> list[bytes]:
    pcm = np.clip(np.rint(wave), -32768, 32767).astype("<i2")
    if codec is Codec.G722:
        data = G722(16000, 64000).encode(array("h", pcm.tobytes()))
    else:
        data = g711.encode(pcm[::2].tobytes(), codec)
    return [data[at : at + 160] for at in range(160 * 5, len(data), 160)]


@pytest.mark.parametrize("codec", [Codec.PCMU, Codec.PCMA, Codec.G722])
def test_a_voice_is_told_from_a_silent_line(codec: Codec) -> None:
    spoken, silent = encoded(noise(-30), codec), encoded(noise(-75), codec)
    assert sum(loud(codec, frame) for frame in spoken) > 0.9 * len(spoken)
    assert sum(loud(codec, frame) for frame in silent) < 0.1 * len(silent)


def test_the_voice_flags_of_opus_are_believed() -> None:
    assert loud(Codec.OPUS, toc(9) + b"\x80" + bytes(20))
    assert not loud(Codec.OPUS, toc(9) + b"\x40" + bytes(20))  # redundancy alone
    assert loud(Codec.OPUS, toc(11) + b"\x20" + bytes(60))  # the third of three
    assert not loud(Codec.OPUS, toc(11) + b"\x10" + bytes(60))
    assert loud(Codec.OPUS, bytes([9 << 3 | 4]) + b"\x20" + bytes(20))  # the side channel's
    assert not loud(Codec.OPUS, toc(9) + b"\x80")  # a pause in the sending
    assert loud(Codec.OPUS, toc(31) + bytes(60))  # no flags there: it may be a voice
