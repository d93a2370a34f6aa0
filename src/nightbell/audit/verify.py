"""Checking the logs of a running installation, and exporting them for people who do not trust it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import transaction

from nightbell.audit import offline_verify, restored, service, signing
from nightbell.audit.models import Checkpoint, Event, Log
from nightbell.core.clock import iso, parse_iso
from nightbell.core.durable import write_file
from nightbell.core.errors import NightbellError

_TOLD = 20  # problems on one line; all are in the JSON
_COLUMNS = ("id", "actor", "action", "message", "outcome", "source")


@dataclass(frozen=True, slots=True)
class LogReport:
    """What was found in one log. first_wrong: the first entry known to be wrong, None when all is whole.

    gaps: what the log itself tells of restores; no fault of its wholeness.
    """

    log: str
    entries: int
    checkpoints: int
    problems: tuple[str, ...]
    first_wrong: int | None
    gaps: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        return {
            "log": self.log, "ok": self.ok, "entries": self.entries, "checkpoints": self.checkpoints,
            "problems": list(self.problems), "first_wrong": self.first_wrong, "gaps": list(self.gaps),
        }  # fmt: skip

    def line(self) -> str:
        gaps = "".join(f"; {gap}" for gap in self.gaps)
        if self.ok:
            return f"{self.log}: whole, {self.entries} entries, {self.checkpoints} checkpoints hold{gaps}"
        where = "" if self.first_wrong is None else f" First wrong entry: {self.first_wrong}."
        more = f"; {len(self.problems) - _TOLD} more" if len(self.problems) > _TOLD else ""
        return f"{self.log}: NOT WHOLE.{where} " + "; ".join(self.problems[:_TOLD]) + more + gaps


def all_logs(url: str, folder: Path, only: str = "", expected: Iterable[str] = ()) -> list[LogReport]:
    """Recompute every log against its hashes, its head, and all checkpoints here and in `folder`.

    expected: logs that must be there. One that is gone, with its practice or its checkpoints left, is not whole.
    """
    logs = {log.pk: log for log in Log.objects.order_by("id")}
    named = {path.stem for path in folder.glob("*.txt") if not restored.is_aside(path)}
    gone = sorted((named | set(expected)) - set(logs))
    if only and only not in logs and only not in gone:
        raise NightbellError(f"There is no log {only[:40]!r}", "", "leave --log out to see all")
    found = [_one(url, log, folder) for log in logs.values() if only in ("", log.pk)]
    return found + [_missing(log_id, folder) for log_id in gone if only in ("", log_id)]


def _missing(log_id: str, folder: Path) -> LogReport:
    notes = len(signing.kept_notes(folder / f"{log_id}.txt"))
    return LogReport(log_id, 0, notes, (f"the whole log is gone; {notes} checkpoints beside it count it",), 0)


def _one(url: str, log: Log, folder: Path) -> LogReport:
    crooked: list[tuple[int, str]] = []
    # Notes first, then the head, then only leaves below it: the log grows meanwhile and is not locked.
    notes = signing.kept_notes(folder / f"{log.pk}.txt")
    head = Log.objects.get(pk=log.pk)
    if head.size == 0 and not notes and not Event.objects.filter(log=log, seq=0).exists():
        return LogReport(log.pk, 0, 0, (), None)
    lines = [
        *_lines(url, head, crooked),
        json.dumps({"checkpoint": _head(url, head)}, separators=(",", ":")),
    ]
    vkey = signing.signer(url, log.pk).vkey
    found = offline_verify.check(lines, vkey, notes)
    gaps = restored.gaps(head)
    problems = found.problems + [text for _, text in crooked]
    problems += restored.unexplained(folder, log.pk, gaps)
    wrong = [seq for seq, _ in crooked] + ([found.first_wrong] if found.first_wrong is not None else [])
    return LogReport(
        log.pk, found.entries, found.checkpoints, tuple(problems), min(wrong, default=None),
        tuple(gap.says() for gap in gaps),
    )  # fmt: skip


def _head(url: str, head: Log) -> str:
    try:
        return signing.head_note(url, head)
    except ValueError:
        return "the head row is damaged"


def _lines(url: str, log: Log, crooked: list[tuple[int, str]]) -> Iterator[str]:
    """The export's lines: header, entries, stored checkpoints. Rows that belie their leaf go to `crooked`."""

    def packed(value: dict[str, Any]) -> str:
        return json.dumps(value, separators=(",", ":"))

    yield packed({"log": signing.origin(url, log.pk), "vkey": signing.signer(url, log.pk).vkey})
    for event in Event.objects.filter(log=log, seq__lt=log.size).order_by("seq").iterator(chunk_size=2000):
        problem = _belies(event)
        if problem:
            crooked.append((event.seq, f"entry {event.seq} was altered: {problem}"))
        leaf = base64.b64encode(bytes(event.leaf)).decode()
        yield packed({"seq": event.seq, "leaf": leaf, "hash": bytes(event.leaf_hash).hex()})
    for row in Checkpoint.objects.filter(log=log, size__lte=log.size).order_by("size"):
        yield packed({"checkpoint": row.note})


def _belies(event: Event) -> str:
    """Why a row's columns are not what its leaf says, or ''."""
    try:
        leaf = json.loads(bytes(event.leaf))
        if parse_iso(leaf["at"]) != parse_iso(iso(event.at)):
            return "its time is not its leaf's"
        for name in _COLUMNS:
            if leaf[name] != getattr(event, name):
                return f"its {name} is not its leaf's"
        if leaf["seq"] != event.seq or leaf["log"] != event.log_id:
            return "its place is not its leaf's"
    except (ValueError, KeyError, TypeError):
        return "its leaf cannot be read"
    return ""


def export(log_id: str, target: Path, url: str, actor: str, now: datetime) -> None:
    """Write one log with a fresh checkpoint to a file. Itself an event of that log."""
    if not Log.objects.filter(pk=log_id).exists():
        raise NightbellError(f"There is no log {log_id[:40]!r}", "", "run: nightbell audit verify")
    with transaction.atomic():
        service.record(log_id, actor=actor, action="audit:export", now=now)
    head = Log.objects.get(pk=log_id)
    lines = list(_lines(url, head, []))
    lines.append(json.dumps({"checkpoint": signing.head_note(url, head)}, separators=(",", ":")))
    write_file(target, ("\n".join(lines) + "\n").encode())
