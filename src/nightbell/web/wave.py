"""The waveform as bars of an SVG drawing of 720 × 72 units. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720.0, 72.0
_MIDDLE, _TALLEST, _SHORTEST = 34.0, 62.0, 2.4


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; all in units of the drawing. `flag`: it sounds while a red flag is being said."""

    x: str
    y: str
    width: str
    height: str
    flag: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """A short line below the bars, under a red flag or a number."""

    x: str
    width: str
    kind: str  # 'flag' or 'mark'


def bars(peaks: Sequence[int], duration: float, flags: Sequence[tuple[float, float]]) -> list[Bar]:
    """One bar for each peak (0..100). flags: seconds from, to. No peaks or no length: no bars."""
    if not peaks or duration <= 0:
        return []
    step = WIDTH / len(peaks)
    drawn = []
    for index, peak in enumerate(peaks):
        tall = _SHORTEST + max(0, min(100, peak)) / 100 * (_TALLEST - _SHORTEST)
        start, end = index * duration / len(peaks), (index + 1) * duration / len(peaks)
        flagged = any(start < to and end > since for since, to in flags)
        drawn.append(
            Bar(
                f"{index * step:.1f}",
                f"{_MIDDLE - tall / 2:.1f}",
                f"{step * 0.58:.2f}",
                f"{tall:.1f}",
                flagged,
            )
        )
    return drawn


def mark(start: float, end: float, duration: float, kind: str) -> Mark | None:
    """Where a stretch of sound lies below the bars, at least 12 units wide. None without a length."""
    if duration <= 0:
        return None
    x = max(0.0, min(WIDTH - 12, start / duration * WIDTH))
    width = max(12.0, min(WIDTH - x, (end - start) / duration * WIDTH))
    return Mark(f"{x:.1f}", f"{width:.1f}", kind)
