"""A recording becomes a clip like the others: same rate, same level, same silence at its ends."""

from __future__ import annotations

import wave
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tests.sound import of_wav

from nightbell.core.capture import Codec
from nightbell.core.sound import BadSound
from nightbell.flow import studio
from nightbell.sip import g711

Samples = npt.NDArray[np.float64]

SPEECH = Path(__file__).parents[2] / "speech"


def _tone(hertz: float, dbfs: float, seconds: float, rate: int = 8000) -> Samples:
    at = np.arange(round(seconds * rate)) / rate
    return np.asarray(10 ** (dbfs / 20) * np.sin(2 * np.pi * hertz * at))


def _voice(seconds: float, rate: int = 48000, level: float = 0.2) -> Samples:
    """Thirty overtones of 130 Hz, four syllables a second."""
    at = np.arange(round(seconds * rate)) / rate
    sound = np.zeros(len(at))
    for overtone in range(1, 31):
        sound += np.sin(2 * np.pi * 130 * overtone * at + overtone**2) / overtone
    sound *= 0.1 + np.sin(np.pi * 4 * at) ** 2
    return np.asarray(level * sound / np.abs(sound).max())


def _quiet(seconds: float, rate: int = 48000) -> Samples:
    return 1e-4 * np.random.default_rng(1).normal(size=round(seconds * rate))


def _spoken(name: str) -> Samples:
    return of_wav((SPEECH / name).read_bytes()) / 32768


def _refused(sound: Samples, rate: int = 48000, max_s: float = 10.0) -> str:
    with pytest.raises(BadSound) as refusal:
        studio.finish(sound, rate, max_s)
    assert refusal.value.mend
    return refusal.value.why


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_a_full_scale_tone_of_997_hz_has_the_loudness_that_the_standard_gives_at_every_rate(
    rate: int,
) -> None:
    assert studio.loudness(_tone(997, 0.0, 5, rate), rate) == pytest.approx(-3.01, abs=0.01)
    assert studio.loudness(_tone(997, -20.0, 5, rate), rate) == pytest.approx(-23.01, abs=0.01)


def test_the_weighting_has_the_shape_of_the_standard() -> None:
    """BS.1770-4, figures 2 and 4: a shelf of 4 dB above 2 kHz, a high-pass below 100 Hz."""

    def against_997(hertz: float) -> float:
        return studio.loudness(_tone(hertz, -20.0, 4, 48000), 48000) + 23.01

    assert against_997(10_000) == pytest.approx(4.0 - 0.69, abs=0.1)
    assert against_997(200) == pytest.approx(-0.93, abs=0.15)
    assert against_997(30) < -8


@pytest.mark.parametrize(
    "levels",
    [[(-36, 10), (-23, 60), (-36, 10)], [(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)]],
)
def test_it_gates_as_the_ebu_asks(levels: list[tuple[float, float]]) -> None:
    """EBU Tech 3341, signals 3 and 4 (tolerance 0.1 LU), in one channel instead of two: 3.01 less."""
    sound = np.concatenate([_tone(1000, dbfs, seconds) for dbfs, seconds in levels])
    assert studio.loudness(sound, 8000) == pytest.approx(-23.0 - 3.01, abs=0.1)


def test_digital_silence_has_no_loudness_and_no_peak() -> None:
    assert studio.loudness(np.zeros(8000), 8000) == studio.true_peak(np.zeros(8000)) == studio.FLOOR


def test_it_sees_the_peak_between_the_samples() -> None:
    """A quarter of the rate, sampled 45 degrees off its tops: every sample is 3 dB below the wave."""
    at = np.arange(8000)
    sound = np.sin(np.pi / 2 * at + np.pi / 4) * np.hanning(8000)
    assert 20 * np.log10(np.abs(sound).max()) == pytest.approx(-3.01, abs=0.01)
    assert studio.true_peak(sound) == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("rate", [6000, 11025, 16000, 22050, 44100, 48000, 12345])
def test_resampling_keeps_the_wave(rate: int) -> None:
    made = studio.resample(_tone(1000, 0, 0.5, rate), rate)
    wanted = _tone(1000, 0, 0.5)
    assert abs(len(made) - len(wanted)) <= 1
    inner = slice(400, -400)
    assert np.abs(made[inner] - wanted[: len(made)][inner]).max() < 1e-4


@pytest.mark.parametrize("hertz", [4000, 4500, 7600, 11900])
def test_what_the_line_cannot_carry_does_not_fold_back(hertz: float) -> None:
    made = studio.resample(_tone(hertz, 0, 0.5, 48000), 48000)[400:-400]
    assert 20 * np.log10(np.sqrt(np.mean(made**2))) < -80


def test_a_clip_is_a_wav_that_the_line_can_play() -> None:
    done = studio.finish(np.concatenate([_quiet(0.5), _voice(2), _quiet(0.7)]), 48000)
    with wave.open(BytesIO(done.wav)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        assert file.getnframes() / 8000 == done.seconds
    assert done.seconds == pytest.approx(2.16, abs=0.06)
    assert done.trimmed_s == (pytest.approx(0.42, abs=0.03), pytest.approx(0.62, abs=0.05))


@pytest.mark.parametrize("name", ["vm02_piper.wav", "es_signs.wav"])
def test_speech_comes_out_at_the_level_of_the_others_whatever_it_was(name: str) -> None:
    for gain in (1.0, 0.05):
        done = studio.finish(_spoken(name)[: 8000 * 4] * gain, 8000)
        assert done.lufs == pytest.approx(-16.0, abs=1.0)
        assert done.peak_dbfs <= -1.0
        assert done.missing_db == 0.0
        clip = of_wav(done.wav) / 32768
        assert done.lufs == pytest.approx(studio.loudness(clip, 8000), abs=0.02)
        assert studio.true_peak(clip) <= -1.0


def test_turning_peaks_down_does_not_bend_the_wave() -> None:
    """The gain moves slower than the wave: a tone that swells for a moment gets no harmonics."""
    sound = _tone(500, -30, 3)
    sound[12000:12400] *= 1 + 9 * np.hanning(400)
    done = studio.finish(sound, 8000)
    clip = of_wav(done.wav) / 32768
    assert done.lufs == pytest.approx(-16, abs=1)
    assert np.abs(clip).max() < 6 * np.median(np.abs(clip))  # ten times louder before
    spectrum = np.abs(np.fft.rfft(clip * np.hanning(len(clip))))
    hertz = np.fft.rfftfreq(len(clip), 1 / 8000)
    assert 20 * np.log10(spectrum.max() / spectrum[hertz > 1200].max()) > 60


def test_it_says_so_when_the_level_cannot_be_reached() -> None:
    """Clicks 40 dB above a murmur: to lift the murmur would need more than is kind to the clicks."""
    sound = _voice(3, 8000, 0.03)
    for at in range(1000, 23000, 4000):
        sound[at : at + 40] += 0.8 * np.hanning(40) * np.sin(np.arange(40))
    done = studio.finish(sound, 8000)
    assert done.missing_db == pytest.approx(-16.0 - done.lufs, abs=0.06)
    assert done.missing_db > 1.0
    assert done.peak_dbfs <= -1.0


def test_the_ends_are_silent_and_fade() -> None:
    clip = np.abs(of_wav(studio.finish(_voice(1.0), 48000).wav)) / 32768
    loud = clip > 0.02
    before, after = int(np.argmax(loud)), int(np.argmax(loud[::-1]))
    assert 0.06 * 8000 <= before <= 0.1 * 8000
    assert 0.06 * 8000 <= after <= 0.1 * 8000
    assert clip[0] == clip[-1] == 0


def test_a_constant_offset_and_rumble_are_taken_out() -> None:
    plain = studio.finish(_voice(2), 48000)
    dirty = studio.finish(_voice(2) + 0.2 + _tone(20, -14, 2, 48000), 48000)
    assert abs(of_wav(dirty.wav).mean()) < 10
    assert dirty.seconds == pytest.approx(plain.seconds, abs=0.1)
    assert dirty.lufs == pytest.approx(-16.0, abs=0.2)


def test_a_click_of_the_mouse_at_the_end_is_not_speech() -> None:
    click = np.zeros(48000)
    click[40000:40480] = 0.5
    done = studio.finish(np.concatenate([_quiet(0.2), _voice(1), _quiet(1) + click]), 48000)
    assert done.seconds < 1.3


@pytest.mark.parametrize("sound", [np.zeros(48000), np.zeros(0), _quiet(1), _tone(20, -20, 1, 48000)])
def test_it_refuses_what_nobody_hears(sound: Samples) -> None:
    assert _refused(sound) == "nothing can be heard in it"


def test_it_refuses_what_is_too_short_or_too_long() -> None:
    assert "shorter than 0.3" in _refused(np.concatenate([_quiet(1), _voice(0.2), _quiet(1)]))
    assert "at most 2 are allowed" in _refused(_voice(2.5), max_s=2)
    assert studio.finish(np.concatenate([_quiet(2), _voice(1.5)]), 48000, 2).seconds < 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_it_refuses_what_is_not_a_number(value: float) -> None:
    sound = _voice(1)
    sound[77] = value
    assert "not sound" in _refused(sound)


def test_it_refuses_more_than_one_channel() -> None:
    assert "one channel" in _refused(np.zeros((100, 2)))


@pytest.mark.parametrize("name", ["jfk.wav", "es_signs.wav"])
def test_it_refuses_distorted_speech_and_takes_loud_speech(name: str) -> None:
    speech = _spoken(name)[: 8000 * 5]
    speech /= np.abs(speech).max()
    assert "distorted" in _refused(np.clip(speech * 4, -1, 1), 8000)
    assert "distorted" in _refused(np.clip(speech * 4, -1, 1) * 0.4, 8000)
    studio.finish(np.clip(speech * 1.1, -1, 1), 8000)


def test_coarse_steps_of_a_telephone_recording_are_not_distortion() -> None:
    speech = _spoken("jfk.wav")
    pcm = (speech / np.abs(speech).max() * 32000).astype("<i2").tobytes()
    line = np.frombuffer(g711.decode(g711.encode(pcm, Codec.PCMU), Codec.PCMU), "<i2") / 32768
    assert studio.finish(line, 8000, 20).missing_db == 0.0


def test_a_tone_at_full_scale_is_not_distortion() -> None:
    assert studio.finish(_tone(1000, 0, 1, 48000), 48000).lufs == pytest.approx(-16, abs=0.2)


def _wav(samples: Samples) -> bytes:
    out = BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return out.getvalue()


def test_peaks_are_drawn_against_the_largest() -> None:
    loud = np.concatenate([np.full(100, 1000), np.full(100, -4000), np.zeros(100), np.full(100, -32768)])
    assert studio.peaks(_wav(loud), 4) == [3, 12, 0, 100]
    assert len(studio.peaks(_wav(loud))) == 120


def test_peaks_of_little_or_nothing_are_flat() -> None:
    assert studio.peaks(_wav(np.zeros(0)), 3) == studio.peaks(_wav(np.zeros(50)), 3) == [0, 0, 0]
    assert studio.peaks(_wav(np.full(2, 9)), 4) == [100, 100, 0, 0]


def test_peaks_of_something_else_are_refused() -> None:
    with pytest.raises(BadSound):
        studio.peaks(b"RIFF....WAVE")
