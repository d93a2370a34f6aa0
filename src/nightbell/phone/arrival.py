"""What a call brings along beside its sound: which number was dialled first, why it came on, and whether its number is true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.x509 import Certificate

from nightbell.phone.snapshot import Snapshot, plain
from nightbell.sip import history, identity
from nightbell.sip.message import Request
from nightbell.sip.trunk import DIALLED, Dialled, Trunk

STORE = "stir"  # in the phone's folder: certificates of those who vouch for callers' numbers
MAX_FILES, MAX_FILE = 64, 65_536


@dataclass(frozen=True, slots=True)
class Arrival:
    """dialled: '' where none of the numbers on the way is ours; marks: for the capture (core.capture.Mark)."""

    dialled: str
    marks: tuple[str, ...]


def look(
    request: Request,
    caller: str,
    trunk: Trunk | None,
    snapshot: Snapshot,
    certificates: Mapping[str, Certificate],
    now: datetime,
) -> Arrival:
    """Read it from the INVITE. trunk: by which it came, None for this machine, whose word is not a carrier's."""
    order = DIALLED if trunk is None else trunk.dialled
    dialled, _ = history.first_dialled(request, lambda user: plain(user) in snapshot.numbers, order)
    marks = []
    why = history.diverted(request)
    if why:
        marks.append(f"diverted:{why}")
    called = [user for place in Dialled for user in history.candidates(request, place)]
    verdict = identity.judge(request, caller, called, certificates, now, trusted=trunk is not None)
    marks.append(verdict.mark)
    return Arrival(dialled, tuple(marks))


def store(folder: Path) -> dict[str, Certificate]:
    """The certificates in the phone's folder, by the name of their file; none when there is no such folder."""
    files = {}
    try:
        for path in sorted((folder / STORE).iterdir())[:MAX_FILES]:
            if path.is_file() and path.stat().st_size <= MAX_FILE:
                files[path.name] = path.read_bytes()
    except OSError:
        return identity.load(files)
    return identity.load(files)
