"""The measure of what was heard is a measure: an exact copy is found whole, whatever is louder beside it."""

from __future__ import annotations

import numpy as np
from tests.sound import Samples, alike, correlation

from nightbell.core.capture import Codec
from nightbell.phone import voice
from nightbell.sip import g711


def _clip(name: str) -> Samples:
    sound = b"".join(voice.packaged(name, Codec.PCMU))
    return np.frombuffer(g711.decode(sound, Codec.PCMU), "<i2").astype(np.float64)


def _noise(seed: int) -> Samples:
    sound = np.random.default_rng(seed).normal(0, 5000, 4 * 8000)
    return np.asarray(np.convolve(sound, np.ones(4) / 4, "same"))


def test_a_quiet_word_is_found_beside_loud_noise() -> None:
    """As when two who were brought together speak after the words: 0.98 was all that an exact copy came to."""
    clip = _clip("en/connect-patient")
    heard = np.concatenate([np.zeros(4000), clip, np.zeros(2000), _noise(1)])
    assert alike(clip, heard) > 0.999
    assert correlation(clip, heard)[1] == 4000


def test_what_is_not_there_is_not_found() -> None:
    clip = _clip("en/connect-patient")
    for heard in (_noise(1), np.zeros(9000), np.full(9000, 3.0), _clip("en/thank-you")):
        assert alike(clip, heard) < 0.8
    assert alike(clip, -np.concatenate([np.zeros(500), clip])) < 0.8
