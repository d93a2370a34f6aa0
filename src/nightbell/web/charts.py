"""Charts as numbers for SVG attributes: the pages allow no style of their own. Pure.

Every chart stands beside a table with the same values; what is drawn is decoration for those who see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import log10
from typing import Any

from nightbell.web.format import wait_words

WIDE, HIGH, GAP = 720, 190, 4
ROW, LABEL, PLOT, FOOT = 44, 120, 560, 34
_LEAST, _MOST = 10.0, 7 * 86400.0  # seconds at the two ends of the scale, which is logarithmic
_TICKS = ((60, "1 m"), (600, "10 m"), (3600, "1 h"), (36000, "10 h"), (86400 * 4, "4 d"))


def bars(counts: Sequence[int], spans: Sequence[timedelta | None]) -> dict[str, Any]:
    """A bar for each hour: how many, and in words within what span half were taken."""
    most, step = max(counts, default=0), WIDE / max(len(counts), 1)
    drawn = []
    for place, (number, span) in enumerate(zip(counts, spans, strict=True)):
        height = round(number / most * (HIGH - 34), 1) if most else 0.0
        drawn.append({
            "x": round(place * step + GAP / 2, 1), "y": round(HIGH - height, 1), "width": round(step - GAP, 1),
            "height": height, "middle": round((place + 0.5) * step, 1), "hour": f"{place:02d}", "count": number,
            "above": round(HIGH - height - 7, 1), "label": place % 3 == 0, "says": wait_words(span),
        })  # fmt: skip
    return {
        "width": WIDE,
        "height": HIGH + FOOT,
        "base": HIGH,
        "text": HIGH + FOOT - 8,
        "bars": drawn,
        "most": most,
    }


def rows(found: Sequence[tuple[str, timedelta | None, timedelta | None]]) -> dict[str, Any]:
    """A line for each name from its p50 to its p90, on a logarithmic scale of time."""
    drawn = []
    for place, (name, p50, p90) in enumerate(found):
        middle = place * ROW + ROW / 2
        here = {"name": name, "y": middle, "text_y": middle + 8, "there": p50 is not None}
        if p50 is not None and p90 is not None:
            left, right = _at(p50.total_seconds()), _at(p90.total_seconds())
            here |= {"x": left, "x2": right, "width": round(max(right - left, 2.0), 1), "bar_y": middle - 7}
        drawn.append(here)
    high = len(found) * ROW
    ticks = [{"x": _at(seconds), "text": text} for seconds, text in _TICKS]
    return {
        "width": WIDE,
        "height": high + FOOT,
        "base": high,
        "text": high + FOOT - 8,
        "rows": drawn,
        "ticks": ticks,
    }


def _at(seconds: float) -> float:
    part = log10(min(max(seconds, _LEAST), _MOST) / _LEAST) / log10(_MOST / _LEAST)
    return round(LABEL + part * PLOT, 1)
