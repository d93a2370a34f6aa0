"""Samples: from telephone PCM to what the model hears, and how loud it is. Pure."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Samples: TypeAlias = npt.NDArray[np.float32]

LINE_RATE = 8000  # samples a second on the telephone
MODEL_RATE = 16000
_REACH = 32  # samples to each side that an interpolated one is made of
FLOOR = -120.0  # dBFS of digital silence


def from_pcm(pcm: bytes) -> Samples:
    """Signed 16 bit little endian to floats from -1 to 1. An odd last byte is dropped."""
    samples: Samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.float32)
    return samples / np.float32(32768)


def _half_sample_filter() -> npt.NDArray[np.float64]:
    """The value half-way between two samples: a sinc under a Kaiser window (beta 9: 90 dB down)."""
    at = np.arange(2 * _REACH) - (_REACH - 0.5)
    taps = np.sinc(at) * np.kaiser(2 * _REACH, 9.0)
    return np.asarray(taps / taps.sum())


_HALF = _half_sample_filter()


def upsample(samples: Samples) -> Samples:
    """8000 to 16000 samples a second: every second one is kept as it is, the others lie between."""
    out: Samples = np.zeros(2 * len(samples), dtype=np.float32)
    if len(samples):
        between = np.convolve(samples, _HALF)[_REACH : _REACH + len(samples)]
        out[0::2], out[1::2] = samples, between.astype(np.float32)
    return out


def loudest(
    samples: Samples, start: float = 0.0, end: float | None = None, *, rate: int = LINE_RATE
) -> float:
    """The loudest tenth of a second between two times (seconds), as RMS in dBFS."""
    stop = len(samples) if end is None else round(end * rate)
    part = samples[max(0, round(start * rate)) : stop]
    frame = rate // 10
    if not len(part):
        return FLOOR
    padded = np.pad(part, (0, -len(part) % frame)).reshape(-1, frame)
    power = float(np.mean(np.square(padded, dtype=np.float64), axis=1).max())
    return max(FLOOR, 10 * float(np.log10(power))) if power > 0 else FLOOR
