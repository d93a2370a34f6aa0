"""What the phone really has, read from the snapshot that it keeps: told apart from what was published."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature

from nightbell.sealing.signed import opened


@dataclass(frozen=True, slots=True)
class OnPhone:
    """snapshot: its version, 0 when there is none; flows: practice id to the number of the version that answers."""

    snapshot: int
    flows: dict[str, int]


def on_phone(home: Path) -> OnPhone:
    """What this machine's phone answers with. A file that is missing or not ours tells of nothing."""
    folder = home / "phone"
    try:
        body = opened((folder / "snapshot.json").read_bytes(), (folder / "trust.pub").read_bytes())
        content: dict[str, Any] = json.loads(body)
        lines = [one for one in content["lines"].values() if not one["test"]]
        return OnPhone(int(content["version"]), {str(one["practice"]): int(one["flow"]) for one in lines})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidSignature):
        return OnPhone(0, {})
