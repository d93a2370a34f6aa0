"""A practice's own recording made into a clip: resampled, trimmed, levelled like all the others. Pure.

Loudness: ITU-R BS.1770-4 (K-weighting, gated). Its filters are applied as a frequency response, at the
true frequency in hertz, so the standard's figures for 48 kHz hold at every rate.
"""

from __future__ import annotations

import math
import wave
from dataclasses import dataclass
from io import BytesIO
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from nightbell.core.sound import MOST_SECONDS, BadSound

Samples: TypeAlias = npt.NDArray[np.float64]

RATE = 8000
TARGET_LUFS, TOLERANCE = -16.0, 1.0
CEILING = -1.0  # dBFS, true peak
_HARDEST = 9.0  # dB by which the loudest moments are turned down at most
_HOLD = round(0.01 * RATE)  # to each side: the gain moves slower than the wave
SHORTEST = 0.3  # seconds
FLOOR = -120.0  # dB of digital silence
_EDGE, _FADE = round(0.08 * RATE), round(0.01 * RATE)

_REACH, _CUT, _BETA = 48, 0.94, 9.0  # the resampler: zero crossings to a side, share of Nyquist, 90 dB down
_ROWS = 4096  # output samples that are computed at once: bounds the memory
_RUMBLE = 100.0  # Hz: below it a telephone carries nothing

_FRAME = RATE // 100
_AUDIBLE, _BELOW_LOUDEST, _ABOVE_NOISE, _LEAST_BELOW = -55.0, 40.0, 8.0, 20.0  # dB
_CLICK = 5  # frames: what is shorter is a key or a breath, not a word

_FLAT_PEAK, _FLAT_STEP, _FLAT_RUN, _FLAT_SHARE = 0.9, 3e-5, 3, 0.1

# BS.1770-4, tables 1 and 2: the shelf of the head and the high-pass (numerator, denominator) at 48 kHz.
_K_RATE = 48000
_K_STAGES = (
    ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)),
    ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)),
)
_K_OFFSET, _GATE, _RELATIVE_GATE = -0.691, -70.0, -10.0
_BLOCK, _STEP = 0.4, 0.1  # seconds
_OVERSAMPLING = 4


@dataclass(frozen=True, slots=True)
class Finished:
    """A clip. wav: 8000 Hz, mono, 16-bit PCM; seconds: its length; lufs: integrated loudness;
    peak_dbfs: true peak; trimmed_s: seconds of silence cut off at the start and at the end.
    """

    wav: bytes
    seconds: float
    lufs: float
    peak_dbfs: float
    trimmed_s: tuple[float, float]

    @property
    def missing_db(self) -> float:
        """How far the clip stays below the level of the others in dB; 0.0 when it reached it.

        Its loudest moments stand out so far that turning them down more would be heard.
        """
        short = TARGET_LUFS - self.lufs
        return round(short, 1) if short > TOLERANCE else 0.0


def finish(samples: npt.NDArray[np.floating], rate: int, max_s: float = MOST_SECONDS) -> Finished:
    """Make a clip of mono floats (full scale 1.0) at `rate` Hz, not longer than `max_s` seconds.

    Raises BadSound: no sound, not a number, distorted, too short, too long.
    """
    sound = _checked(samples, rate)
    line = _without_rumble(resample(sound, rate))
    start, stop = _audible(line)
    clip, cut = _trimmed(line, start, stop)
    _check_length((stop - start) / RATE, len(clip) / RATE, max_s)
    clip = np.round(_levelled(clip) * 32767) / 32767
    return Finished(
        _wav(clip), len(clip) / RATE, round(loudness(clip, RATE), 2), round(true_peak(clip), 2), cut
    )


def peaks(wav: bytes, bars: int = 120) -> list[int]:
    """The largest sample of each of `bars` equal parts of a 16-bit mono WAV, 0 to 100 of the largest of all.

    Raises BadSound when it is no such WAV.
    """
    try:
        with wave.open(BytesIO(wav)) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise BadSound("the clip", "it is not mono with 16 bits", "record it again")
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise BadSound("the clip", "it is not a WAV file", "record it again") from error
    samples = np.abs(np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float64))
    parts = [float(part.max()) if len(part) else 0.0 for part in np.array_split(samples, bars)]
    most = max(parts, default=0.0)
    return [round(100 * part / most) if most else 0 for part in parts]


def _checked(samples: npt.NDArray[np.floating], rate: int) -> Samples:
    if samples.ndim != 1 or rate <= 0:
        raise BadSound("the recording", "it is not one channel of sound", "record it again")
    sound: Samples = samples.astype(np.float64)
    if not np.isfinite(sound).all():
        raise BadSound("the recording", "it holds values that are not sound", "record it again")
    if not len(sound) or not np.any(sound):
        raise _nothing_heard()
    if _distorted(sound):
        raise BadSound(
            "the recording",
            "the recording is distorted: its loudest parts are cut off",
            "speak further from the microphone, or turn its level down, and record again",
        )
    return sound


def _nothing_heard() -> BadSound:
    return BadSound(
        "the recording",
        "nothing can be heard in it",
        "check that the right microphone is on and record again",
    )


def _distorted(sound: Samples) -> bool:
    """Whether the tops of the waves are flat: runs of equal samples near the largest one."""
    held = np.clip(sound, -1.0, 1.0)
    most = float(np.abs(held).max())
    high = np.abs(held) >= _FLAT_PEAK * most
    same = high[1:] & (np.abs(np.diff(held)) <= _FLAT_STEP * most)
    flat = same.copy()
    for shift in range(1, _FLAT_RUN - 1):
        flat[shift:] &= same[:-shift]
    flat[: _FLAT_RUN - 2] = False
    upper = np.count_nonzero(np.abs(held) >= most / 2)
    return bool(np.count_nonzero(flat) > _FLAT_SHARE * upper)


def resample(sound: Samples, rate: int) -> Samples:
    """To 8000 Hz through a windowed sinc; flat to 3.5 kHz, what lies above 4 kHz is 80 dB down."""
    if rate == RATE:
        return sound
    common = math.gcd(rate, RATE)
    up, down = RATE // common, rate // common
    cut = _CUT * min(1.0, RATE / rate)  # of the input's Nyquist frequency
    reach = math.ceil(_REACH / min(1.0, RATE / rate))
    padded = np.concatenate([np.zeros(reach), sound, np.zeros(reach + 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    length = len(sound) * RATE // rate
    out: Samples = np.zeros(length)
    for phase in range(min(up, length)):
        first, remainder = divmod(phase * down, up)
        at = np.arange(2 * reach + 1) - reach - remainder / up
        taps = cut * np.sinc(cut * at) * _kaiser(at / reach)
        rows = windows[first::down]
        wanted = len(range(phase, length, up))
        for begin in range(0, wanted, _ROWS):
            part = rows[begin : min(begin + _ROWS, wanted)] @ taps
            out[phase + begin * up : phase + (begin + len(part)) * up : up] = part
    return out


def _kaiser(at: Samples) -> Samples:
    """The window at places from -1 to 1, zero outside."""
    inside = np.sqrt(np.clip(1 - at**2, 0, None))
    return np.where(np.abs(at) <= 1, np.i0(_BETA * inside) / np.i0(_BETA), 0.0)


def _without_rumble(line: Samples) -> Samples:
    """Butterworth high-pass of second order forward and back: no delay, no offset."""
    size = _fast_size(len(line) + RATE)
    frequency = np.fft.rfftfreq(size, 1 / RATE)
    weight = np.zeros(len(frequency))
    weight[1:] = 1 / (1 + (_RUMBLE / frequency[1:]) ** 4)
    passed: Samples = np.fft.irfft(np.fft.rfft(line, size) * weight, size)[: len(line)]
    return passed


def _fast_size(least: int) -> int:
    """The next size that an FFT likes: a power of two, or three quarters of one."""
    power = 1 << max(4, least - 1).bit_length()
    return power * 3 // 4 if power * 3 // 4 >= least else power


def _audible(line: Samples) -> tuple[int, int]:
    """Where somebody speaks: first sample, and the one past the last. Raises BadSound when nobody does."""
    frames = np.pad(line, (0, -len(line) % _FRAME)).reshape(-1, _FRAME)
    level = 10 * np.log10(np.maximum(np.mean(frames**2, axis=1), 1e-12))
    loudest, noise = float(level.max()), float(np.percentile(level, 10))
    threshold = max(loudest - _BELOW_LOUDEST, min(noise + _ABOVE_NOISE, loudest - _LEAST_BELOW), _AUDIBLE)
    loud = np.concatenate([[False], level > threshold, [False]])
    edges = np.flatnonzero(loud[1:] != loud[:-1])
    runs = [(start, stop) for start, stop in edges.reshape(-1, 2) if stop - start >= _CLICK]
    if not runs:
        raise _nothing_heard()
    return int(runs[0][0]) * _FRAME, min(int(runs[-1][1]) * _FRAME, len(line))


def _trimmed(line: Samples, start: int, stop: int) -> tuple[Samples, tuple[float, float]]:
    """The sound with 80 ms around it, faded where it was cut, and the seconds cut off at both ends.

    Where the recording has less than 80 ms there, silence is added: clips are joined without a gap.
    """
    first, last = max(0, start - _EDGE), min(len(line), stop + _EDGE)
    kept = line[first:last].copy()
    fade = (0.5 - 0.5 * np.cos(np.pi * np.arange(_FADE) / _FADE))[: len(kept)]
    kept[: len(fade)] *= fade
    kept[len(kept) - len(fade) :] *= fade[::-1]
    padded = np.pad(kept, (first - (start - _EDGE), stop + _EDGE - last))
    return padded, (round(first / RATE, 3), round((len(line) - last) / RATE, 3))


def _check_length(sound: float, clip: float, max_s: float) -> None:
    if sound < SHORTEST:
        raise BadSound(
            "the recording", f"it is shorter than {SHORTEST} seconds", "record the whole sentence again"
        )
    if clip > max_s:
        raise BadSound(
            "the recording",
            f"it is {clip:.1f} seconds long, at most {max_s:g} are allowed here",
            "say it in fewer words and record again",
        )


def _levelled(clip: Samples) -> Samples:
    """At the target loudness, its peaks turned down for a moment where they would pass the ceiling."""
    between = np.abs(_oversampled(clip))[: len(clip) * _OVERSAMPLING]
    around = between.reshape(-1, _OVERSAMPLING).max(axis=1)
    most = CEILING + _HARDEST - 20 * math.log10(float(around.max()))
    gain = min(TARGET_LUFS - loudness(clip, RATE), most)
    for _ in range(4):
        level = _limited(clip, around, gain)
        gain = min(gain + TARGET_LUFS - loudness(level, RATE), most)
    level = _limited(clip, around, gain)
    return level * 10 ** (min(0.0, CEILING - 0.01 - true_peak(level)) / 20)


def _limited(clip: Samples, around: Samples, gain: float) -> Samples:
    """`gain` dB, less where it must be. The least gain is held for 10 ms to both sides, then smoothed
    over as much, so that it is low enough when the peak comes.

    around: the largest value of the wave near each sample.
    """
    factor = 10 ** (gain / 20)
    room = np.minimum(1.0, 10 ** (CEILING / 20) / np.maximum(around * factor, 1e-9))
    width = 2 * _HOLD + 1
    held = np.lib.stride_tricks.sliding_window_view(np.pad(room, 2 * _HOLD, mode="edge"), width).min(axis=1)
    weight = np.hanning(width + 2)[1:-1]
    smooth = np.convolve(held, weight / weight.sum(), mode="valid")
    return np.asarray(clip * factor * smooth)


def loudness(sound: Samples, rate: int) -> float:
    """Integrated loudness of one channel in LUFS; -120.0 where all is below the gate.

    What is shorter than one block of 0.4 s counts as one block of its own length.
    """
    power = np.concatenate([[0.0], np.cumsum(_k_weighted(sound, rate) ** 2)])
    block = min(round(_BLOCK * rate), len(sound))
    starts = np.arange(0, len(sound) - block + 1, max(1, round(_STEP * rate)))
    means = (power[starts + block] - power[starts]) / max(1, block)
    loud = means[_lufs(means) > _GATE]
    if not len(loud):
        return FLOOR
    loud = loud[_lufs(loud) > _lufs(loud.mean()) + _RELATIVE_GATE]
    return float(_lufs(loud.mean()))


def _lufs(mean: Samples) -> Samples:
    return np.asarray(_K_OFFSET + 10 * np.log10(np.maximum(mean, 1e-12)))


def _k_weighted(sound: Samples, rate: int) -> Samples:
    """Through the filters of BS.1770. A second of silence behind it lets their ringing die out."""
    size = _fast_size(len(sound) + rate)
    hertz = np.minimum(np.fft.rfftfreq(size, 1 / rate), _K_RATE / 2)
    delay = np.exp(-2j * np.pi * hertz / _K_RATE)
    response: npt.NDArray[np.complex128] = np.ones(len(hertz), dtype=np.complex128)
    for over, under in _K_STAGES:
        response *= np.polyval(over[::-1], delay) / np.polyval(under[::-1], delay)
    weighted: Samples = np.fft.irfft(np.fft.rfft(sound, size) * response, size)[: len(sound)]
    return weighted


def true_peak(sound: Samples) -> float:
    """The largest value of the wave between its samples too (four times oversampled), in dBFS."""
    most = float(np.abs(_oversampled(sound)).max())
    return max(FLOOR, 20 * math.log10(most)) if most > 0 else FLOOR


def _oversampled(sound: Samples) -> Samples:
    """Every sample and the three values of the band-limited wave that follow it; silence at the end."""
    size = _fast_size(len(sound) + 64)
    between: Samples = np.fft.irfft(np.fft.rfft(sound, size), size * _OVERSAMPLING) * _OVERSAMPLING
    return between


def _wav(clip: Samples) -> bytes:
    out = BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(clip * 32767).astype("<i2").tobytes())
    return out.getvalue()
