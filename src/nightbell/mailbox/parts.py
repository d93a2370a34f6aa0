"""Which stretches of a recording the message keeps, and in what order. Pure; places are samples, 8000 a second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nightbell.core.capture import Mark

RATE = 8000
_MS = RATE // 1000
LEAST_LOST = 400 * _MS
MARGIN = 150 * _MS  # a mark is set a moment late, and people speak before the tone has ended
NAMES = frozenset(["message", "name", "dob", "number", "reason", "refill", "worse", "more"])


@dataclass(frozen=True, slots=True)
class Part:
    """One answer of the caller, on the time line of the stored sound. earlier: a later take superseded it."""

    name: str
    start: int
    end: int
    earlier: bool

    def as_dict(self) -> dict[str, object]:
        """As the row keeps it: seconds."""
        return {
            "name": self.name,
            "start_s": round(self.start / RATE, 3),
            "end_s": round(self.end / RATE, 3),
            "earlier": self.earlier,
        }


@dataclass(frozen=True, slots=True)
class Cut:
    """pieces: (start, end) of the recording, one after the other the stored sound; own: samples within parts."""

    pieces: tuple[tuple[int, int], ...]
    parts: tuple[Part, ...]
    own: int


@dataclass(slots=True)
class _Stretch:
    name: str
    start: int
    end: int


def cut(marks: Sequence[Mark], length: int, recorded: Sequence[tuple[int, int]] = ()) -> Cut | None:
    """How to cut a recording of `length` samples. None: no part is marked (an older phone), keep it whole.

    recorded: stretches in which sound came. The phone takes none outside of parts, so what lies in no part is
    misplaced (by a telephone whose clock stands still while it is silent), not unwanted: it is kept behind the rest.
    """
    began = next((mark.at for mark in marks if mark.name == "recording"), None)
    if began is None or not any(mark.name.startswith("part:") for mark in marks):
        return None
    takes = [[one for one in take if one.end > one.start] for take in _takes(marks, began, length)]
    spoken = [take for take in takes if take]  # a take in which nothing was recorded supersedes nothing
    if not spoken and not recorded:
        return Cut((), (), 0)
    pieces: list[tuple[int, int]] = []
    parts: list[Part] = []
    if spoken:
        _lay(spoken[-1], False, length, pieces, parts)
    for take in spoken[:-1]:
        _lay(take, True, length, pieces, parts)
    lost = [_Stretch("message", start, end) for start, end in _outside(recorded, pieces)]
    if lost:
        _lay(lost, False, length, pieces, parts)
        spoken.append(lost)
    own = sum(end - start for start, end in _merged((one.start, one.end) for take in spoken for one in take))
    return Cut(tuple(pieces), tuple(parts), own)


def _takes(marks: Sequence[Mark], began: int, length: int) -> list[list[_Stretch]]:
    """The parts of each take, in the order in which they were spoken."""
    takes: list[list[_Stretch]] = [[]]
    unfinished: _Stretch | None = None
    for mark in sorted(marks, key=lambda mark: mark.at):
        at = min(length, max(0, mark.at - began) * _MS)
        if mark.name == "take":
            if unfinished is not None:
                unfinished.end, unfinished = at, None
            takes.append([])
        elif mark.name == "part-end" and unfinished is not None:
            unfinished.end, unfinished = at, None
        elif mark.name.startswith("part:"):
            name = mark.name.removeprefix("part:")
            unfinished = _Stretch(name if name in NAMES else "message", at, length)
            takes[-1].append(unfinished)
    return takes


def _lay(
    take: list[_Stretch], earlier: bool, length: int, pieces: list[tuple[int, int]], parts: list[Part]
) -> None:
    """Add one take behind what is kept already."""
    at = sum(end - start for start, end in pieces)
    kept = _merged((max(0, one.start - MARGIN), min(length, one.end + MARGIN)) for one in take)
    for start, end in kept:
        for one in take:
            if start <= one.start < end:
                parts.append(Part(one.name, at + one.start - start, at + one.end - start, earlier))
        at += end - start
    pieces += kept


def _outside(recorded: Sequence[tuple[int, int]], pieces: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What of the recorded stretches lies in no piece; a rest behind a mark that came a moment early is left."""
    out = []
    for start, end in recorded:
        at = start
        for first, last in _merged(pieces):
            if first < end and last > at:
                if first - at >= LEAST_LOST:
                    out.append((at, first))
                at = max(at, last)
        if end - at >= LEAST_LOST:
            out.append((at, end))
    return out


def _merged(stretches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out
