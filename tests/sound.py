"""Comparing what was sent with what is played back."""

from __future__ import annotations

import wave
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nightbell.core.capture import Codec
from nightbell.sip import g711

Samples = npt.NDArray[np.float64]


def of_wav(data: bytes) -> Samples:
    """Samples of a PCM16 or mu-law WAV, 8 kHz mono."""
    if data[20:22] == b"\x07\x00":
        at = data.index(b"data")
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        data = g711.decode(data[at + 8 : at + 8 + size], Codec.PCMU)
    else:
        with wave.open(BytesIO(data)) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
            data = file.readframes(file.getnframes())
    return np.frombuffer(data, "<i2").astype(np.float64)


def of_file(path: Path) -> Samples:
    return of_wav(path.read_bytes())


def correlation(sent: Samples, heard: Samples) -> tuple[float, int]:
    """The best normalised correlation of `sent` within `heard`, and where it starts (samples).

    The place is the one with the best normalised value: by the bare product a quiet piece of speech seems to lie in whatever
    is loud elsewhere, and an exact copy of a clip was found 0.98 alike. What is hardly there at all does not count.
    """
    size = 1 << (len(sent) + len(heard)).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sent, size)), size)
    summed = np.concatenate([np.zeros(1), np.cumsum(np.square(heard))])
    starts = np.arange(max(1, len(heard)))
    energy = summed[np.minimum(starts + len(sent), len(heard))] - summed[np.minimum(starts, len(heard))]
    least = 1e-3 * float(np.dot(sent, sent)) or 1.0
    at = int(np.argmax(product[: len(starts)] / np.sqrt(np.maximum(energy, least))))
    part = heard[at : at + len(sent)]
    mine = sent[: len(part)]
    scale = float(np.linalg.norm(mine) * np.linalg.norm(part)) or 1.0
    return float(np.dot(mine, part) / scale), at


def alike(sound: Samples, within: Samples) -> float:
    """The median correlation of some eighths of a second, each at its own best place: a telephone that a busy machine does not
    give its turn drops or adds a frame here and there, which is not ours to be judged by."""
    pieces = [sound[at : at + 1000] for at in range(0, len(sound) - 999, 3000)]
    return float(np.median([correlation(piece, within)[0] for piece in pieces if np.abs(piece).mean() > 200]))
