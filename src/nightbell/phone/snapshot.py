"""The routing snapshot: what the phone knows of its numbers, signed by the worker (DESIGN decision 16).

    file    = as sealing.signed has it
    payload = {"version", "issued_at", "epoch": {"id", "public"}, "limits": {...},
               "trunks": [as sip.trunk has it], "lines": {key: as flow.line has it}, "numbers": {user part: {"practice", "mailbox", "line": key, "staff": true for a staff line}}}

The version only rises. The last good one is kept in the phone's folder and serves for ever.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from nightbell.core import clock, durable
from nightbell.core.errors import NightbellError, RefusedStart
from nightbell.flow import phrases
from nightbell.flow.clips import LANGUAGES
from nightbell.flow.line import Line, always_closed
from nightbell.flow.model import Promise
from nightbell.flow.plan import MAX_SECONDS, MenuKey, Plan
from nightbell.sealing.epochs import EpochPublic
from nightbell.sealing.signed import opened
from nightbell.sip.trunk import Trunk

SNAPSHOT, TRUST = "snapshot.json", "trust.pub"
MAX_BYTES = 8_000_000
_HASH = re.compile(r"[0-9a-f]{64}\Z|builtin:[a-z0-9-]{1,40}\Z")
_CLIP = re.compile(r"(?:(?:en|es)/)?[a-z0-9-]{1,40}\Z")


class BadSnapshot(NightbellError, ValueError):
    """A snapshot that is not taken: forged, malformed, or older than the one in force."""

    def __init__(self, why: str) -> None:
        super().__init__("the routing snapshot", why, "the last good one stays in force")


# The menu of before lines were in the snapshot, and of a number that is nobody's.
_OLD_KEYS = (MenuKey("1", "menu-urgent", urgency="urgent"), MenuKey("2", "menu-routine"))


@dataclass(frozen=True, slots=True)
class Number:
    """One dialled number. practice and mailbox are '' where the call is unrouted: the shortest of flows takes it. staff: for
    the practice's own people, driven by the worker (phone.desk); nothing of it is recorded."""

    practice: str = ""
    mailbox: str = ""
    line: Line = field(
        default_factory=lambda: Line(
            plan=Plan(languages=("en",), keys=_OLD_KEYS, callback=False, review=False)
        )
    )
    staff: bool = False


UNROUTED = Number()


@dataclass(frozen=True, slots=True)
class Limits:
    """max_calls: at once, beyond it callers get 503; drain_seconds: how long calls may end by themselves;
    send_silence: RTP without a pause to the caller also while nothing is played (phone.media); local: whoever is on
    this machine may call, without a trunk and unencrypted; legs: calls to and from staff at once, placed ones and taken ones
    each so many, beside max_calls."""

    max_calls: int = 400
    drain_seconds: int = 60
    send_silence: bool = False
    local: bool = True
    legs: int = 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A verified snapshot. `text` is the signed file as it came."""

    version: int
    issued_at: datetime
    epoch: EpochPublic
    numbers: Mapping[str, Number]
    limits: Limits
    text: bytes
    trunks: tuple[Trunk, ...] = ()

    def line_of(self, practice: str) -> Line:
        """What a practice's callers hear now, for its own recordings; the shortest of flows when it has no number."""
        mine = (one.line for one in self.numbers.values() if one.practice == practice and not one.line.test)
        return next(mine, UNROUTED.line)

    def number(self, dialled: str) -> Number:
        """Who a dialled user part belongs to; UNROUTED for an unknown one. '+1 555' and '1555' are the same."""
        return self.numbers.get(plain(dialled), UNROUTED)


def plain(dialled: str) -> str:
    """A user part without what carriers vary: plus sign, visual separators, case."""
    return re.sub(r"[\s().+-]", "", dialled).lower()


def verify(text: bytes, trust: bytes) -> Snapshot:
    """Check the signature (trust: raw Ed25519 public key, 32 bytes), then the content. Raises BadSnapshot."""
    if len(text) > MAX_BYTES:
        raise BadSnapshot(f"it is larger than {MAX_BYTES} bytes")
    try:
        body = opened(text, trust)
    except (ValueError, RecursionError) as error:
        raise BadSnapshot("it is not a signed JSON file") from error
    except InvalidSignature as error:
        raise BadSnapshot("its signature is not by the pinned key") from error
    try:
        return _read(json.loads(body), text)
    except BadSnapshot:
        raise
    except (
        NightbellError, ArithmeticError, ValueError, KeyError, TypeError, AttributeError, RecursionError,
    ) as error:  # fmt: skip
        raise BadSnapshot(f"its content is malformed ({type(error).__name__})") from error


def _read(data: Any, text: bytes) -> Snapshot:
    version = data["version"]
    if type(version) is not int or version < 1:
        raise BadSnapshot("its version is not a whole number from 1")
    limits = data.get("limits", {})
    lines = {key: Line.from_dict(one) for key, one in data.get("lines", {}).items()}
    return Snapshot(
        version=version,
        issued_at=clock.parse_iso(data["issued_at"]),
        epoch=EpochPublic.from_dict(data["epoch"]),
        numbers={plain(dialled): _number(one, lines) for dialled, one in data["numbers"].items()},
        limits=Limits(
            max_calls=int(limits.get("max_calls", Limits().max_calls)),
            drain_seconds=int(limits.get("drain_seconds", Limits().drain_seconds)),
            send_silence=bool(limits.get("send_silence", False)),
            local=limits.get("local") is not False,
            legs=int(limits.get("legs", Limits().legs)),
        ),
        text=text,
        trunks=tuple(Trunk.from_dict(one) for one in data.get("trunks", ())),
    )


def _number(data: Any, lines: Mapping[str, Line]) -> Number:
    line = lines[data["line"]] if "line" in data else _old_line(data)
    practice, mailbox = str(data["practice"]), str(data["mailbox"])
    return Number(practice=practice, mailbox=mailbox, line=line, staff=data.get("staff") is True)


def _old_line(data: Any) -> Line:
    """A number as snapshots had it before they held lines: the last good one must serve after an update too."""
    language = data.get("language", "en")
    languages = tuple(dict.fromkeys([language, *data.get("languages", [])]))[:2]
    if not set(languages) <= set(LANGUAGES):
        raise BadSnapshot(f"it has a language that is not one of {', '.join(LANGUAGES)}")
    clips = data.get("clips", {})
    for clip, content in clips.items():
        if not _CLIP.match(clip) or not _HASH.match(content):
            raise BadSnapshot("a clip is not an id with a content hash")
    own = {
        name: content
        for clip, content in clips.items()
        for name in ([clip] if "/" in clip else [f"{language}/{clip}" for language in languages])
    }
    low, high = MAX_SECONDS
    return Line(
        practice=str(data["practice"]),
        number=str(data.get("practice_number", "")),
        plan=Plan(
            languages=languages,
            keys=_OLD_KEYS,
            callback=False,
            review=False,
            max_seconds=min(max(int(data.get("max_seconds", 180)), low), high),
            clips=own,
        ),
        calendar=always_closed("UTC"),
        team=bool(data.get("on_call", False)),
        promise=Promise(urgent=phrases.within(int(data.get("promise_minutes", 30)))),
    )


class Holder:
    """The snapshot in force, and the folder where it survives a restart."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / SNAPSHOT
        self._trust = _read_trust(folder / TRUST)
        self.current = self._load()
        self.taken_at = clock.monotonic()
        self.refused = 0

    def _load(self) -> Snapshot:
        try:
            return verify(self._file.read_bytes(), self._trust)
        except OSError as error:
            raise RefusedStart(
                f"the routing snapshot {self._file}",
                f"it cannot be read ({error.strerror}), so nothing could be sealed",
                "start the worker once: it writes the snapshot",
            ) from error
        except BadSnapshot as error:
            raise RefusedStart(
                f"the routing snapshot {self._file}", error.why, "remove it and let the worker write it again"
            ) from error

    def take(self, text: bytes) -> Snapshot:
        """Put a newer snapshot in force, durably. The same one again only proves that the worker lives.

        Raises BadSnapshot (forged, older), OSError (not stored, then not in force).
        """
        try:
            new = verify(text, self._trust)
            if new.version < self.current.version:
                raise BadSnapshot(f"version {new.version} is older than {self.current.version}")
        except BadSnapshot:
            self.refused += 1
            raise
        if new.version > self.current.version:
            durable.write_file(self._file, text)
            self.current = new
        self.taken_at = clock.monotonic()
        return self.current

    def reload(self, version: int, age: float) -> Snapshot:
        """Follow another process of this phone, which took a snapshot of this version so many seconds ago.

        Raises BadSnapshot (older than ours), RefusedStart (not to be read); then ours stays in force.
        """
        if version != self.current.version:
            new = self._load()
            if new.version < self.current.version:
                raise BadSnapshot(f"version {new.version} is older than {self.current.version}")
            self.current = new
        self.taken_at = clock.monotonic() - age
        return self.current

    def age(self) -> float:
        """Seconds since the worker last confirmed the snapshot (or since start)."""
        return clock.monotonic() - self.taken_at


def _read_trust(file: Path) -> bytes:
    """The pinned key: 32 raw bytes, or the same as base64."""
    try:
        data = file.read_bytes()
        raw = data if len(data) == 32 else base64.b64decode(data.strip(), validate=True)
        Ed25519PublicKey.from_public_bytes(raw)
    except OSError as error:
        raise RefusedStart(
            f"the pinned key {file}",
            f"it cannot be read ({error.strerror})",
            "start the worker once: it writes it",
        ) from error
    except ValueError as error:
        raise RefusedStart(
            f"the pinned key {file}", "it is not an Ed25519 public key", "start the worker once: it writes it"
        ) from error
    return raw
