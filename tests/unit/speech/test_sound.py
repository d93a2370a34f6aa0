"""From 8000 to 16000 samples a second, measured against the sine that it should be."""

from __future__ import annotations

import numpy as np
import pytest

from nightbell.adapters.speech import sound


def _sine(hertz: float, rate: int, seconds: float = 1.0) -> sound.Samples:
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize("hertz", [50, 300, 1000, 3000, 3400])
def test_it_draws_the_same_sine_at_twice_the_rate(hertz: float) -> None:
    got, want = sound.upsample(_sine(hertz, 8000)), _sine(hertz, 16000)
    middle = slice(200, -200)
    error = np.sqrt(np.mean(np.square(got[middle] - want[middle])))
    assert 20 * np.log10(error / np.sqrt(0.5)) < -60


def test_it_adds_no_mirror_image() -> None:
    spectrum = np.abs(np.fft.rfft(sound.upsample(_sine(3000, 8000))[200:-200] * np.hanning(15600)))
    hertz = np.fft.rfftfreq(15600, 1 / 16000)
    assert spectrum[hertz > 4100].max() < spectrum.max() * 1e-3


def test_it_keeps_every_given_sample_in_its_place() -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, 777).astype(np.float32)
    assert np.array_equal(sound.upsample(samples)[0::2], samples)
    assert len(sound.upsample(samples)) == 1554


@pytest.mark.parametrize("count", [0, 1, 2, 63])
def test_it_takes_any_length(count: int) -> None:
    assert len(sound.upsample(np.ones(count, np.float32))) == 2 * count


def test_it_reads_pcm_and_drops_half_a_sample() -> None:
    assert sound.from_pcm(b"\x00\x80\xff\x7f\x01").tolist() == [-1.0, 32767 / 32768]


def test_it_tells_loudness_in_dbfs() -> None:
    assert sound.loudest(_sine(1000, 8000)) == pytest.approx(-3.01, abs=0.01)
    assert sound.loudest(np.zeros(8000, np.float32)) == sound.FLOOR
    late = np.concatenate([np.zeros(8000, np.float32), _sine(1000, 8000)])
    assert sound.loudest(late, 0, 1) == sound.FLOOR
    assert sound.loudest(late, 1, 2) == pytest.approx(-3.01, abs=0.01)
    assert sound.loudest(late, 5, 6) == sound.FLOOR
