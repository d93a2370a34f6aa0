"""Finding in a call's sound what should have been played, run by run and in its order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tests.calls.street import Patient
from tests.calls.walker import MS, SPOKEN_MS, VOICE, Sounded
from tests.sound import Samples, correlation

from nightbell.core.capture import Codec
from nightbell.sip import g711

EARLY, LATE = 600 * MS, 3_000 * MS  # samples by which a run may begin before and after its time
KEY = 12_000  # samples by which a run is found
CUT = 700  # ms before the moment of a key that are surely heard
LEAST = 400 * MS  # samples of a cut run below which nothing is compared


@dataclass
class Heard:
    """A run as it was found. at: samples into the sound; alike: correlation, 1.0 is the same."""

    run: Sounded
    at: int
    length: int
    alike: float


def wanted(run: Sounded, patient: Patient) -> Samples:
    """What should be heard of a run; of one that was cut short, what surely was."""
    frames = patient.noise(SPOKEN_MS // 20) if not run.clips else VOICE.frames(run.clips, Codec.PCMU)
    sound = np.frombuffer(g711.decode(b"".join(frames), Codec.PCMU), "<i2").astype(np.float64)
    return sound if run.full else sound[: max(0, run.ended - run.began - CUT) * MS]


def follow(runs: list[Sounded], sound: Samples, patient: Patient) -> list[Heard]:
    """Each run at its place, which follows from where the one before was found."""
    found: list[Heard] = []
    before, at = 0, 0
    for run in runs:
        want = wanted(run, patient)
        expected = at + (run.began - before) * MS
        if not run.full and (len(want) < LEAST or not want.any()):
            continue
        place = _place(want, sound, expected)
        found.append(Heard(run, place, len(want), _alike(want, sound[place : place + len(want)])))
        if found[-1].alike > 0.9:
            before, at = run.began, place
    return found


def _place(want: Samples, sound: Samples, expected: int) -> int:
    """Where it begins, by its first seconds that are not silent: those are soon compared."""
    lead = int(np.flatnonzero(want)[0])
    part = want[lead : lead + KEY]
    start = max(0, expected + lead - EARLY)
    _, offset = correlation(part, sound[start : expected + lead + len(part) + LATE])
    return max(0, start + offset - lead)


def _alike(want: Samples, got: Samples) -> float:
    """Normalised correlation of all of it."""
    got = np.pad(got, (0, len(want) - len(got)))
    scale = float(np.linalg.norm(want) * np.linalg.norm(got)) or 1.0
    return float(np.dot(want, got) / scale)
