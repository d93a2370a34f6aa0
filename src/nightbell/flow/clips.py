"""The packaged prompts: their words, their lengths, and which of them no key may cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CLIPS = Path(__file__).parent / "clips"
LANGUAGES = ("en", "es")
PRACTICE_NAME = "{practice-name}"
FRAME_MS = 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """barge: per id, whether a key cuts it; hashes: SHA-256 per file; words: per language and id, the text;
    frames: 20 ms frames per 'en/ID'; longest: seconds that a recording in its place may have."""

    barge: Mapping[str, bool]
    hashes: Mapping[str, str]
    words: Mapping[str, Mapping[str, str]]
    frames: Mapping[str, int]
    longest: Mapping[str, float]


@cache
def manifest() -> Manifest:
    """Read the packaged manifest once."""
    data = json.loads((CLIPS / "manifest.json").read_text("utf-8"))
    prompts = data["prompts"]
    return Manifest(
        barge={prompt["id"]: prompt["barge_in"] for prompt in prompts},
        hashes={clip["file"]: clip["sha256"] for clip in data["clips"]},
        words={language: {p["id"]: p[language] for p in prompts} for language in LANGUAGES},
        frames={clip["file"].removesuffix(".ulaw"): clip["frames"] for clip in data["clips"]},
        longest={prompt["id"]: prompt["max_s"] for prompt in prompts},
    )


def milliseconds(clip: str, own: Mapping[str, float] | None = None) -> int:
    """How long a resolved clip ('en/ID', '~N', 'tone') sounds. own: seconds of a practice's own, by name."""
    if clip.startswith("~"):
        return int(clip[1:])
    if own and clip in own:
        return int(own[clip] * 1000)
    return manifest().frames.get(clip, 0) * FRAME_MS
