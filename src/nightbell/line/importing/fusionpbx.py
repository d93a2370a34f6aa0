"""Voicemail of FusionPBX: DOMAIN/BOX/msg_UUID.wav or .mp3, and the rows of its table v_voicemail_messages from an export.

Without rows only the sound and the time of its file are known.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from nightbell.line.importing.found import MOST_ROWS, BadImport, Damaged, Folder, Found, moment, read

Rows = Mapping[str, Mapping[str, str]]

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MESSAGE = re.compile(rf"msg_({_UUID})\.(wav|mp3)\Z", re.IGNORECASE)
_COPY = re.compile(
    r'COPY\s+(?:\w+\.)?"?v_voicemail_messages"?\s*\(([^)]{1,4000})\)\s+FROM\s+stdin;', re.IGNORECASE
)
_KEY = "voicemail_message_uuid"


def is_one(path: Path) -> bool:
    """Whether the name is of a message's sound."""
    return _MESSAGE.match(path.name) is not None


def messages(folder: Folder, now: datetime, rows: Rows) -> Iterator[Found]:
    """All messages, in the order of their paths."""
    files: dict[str, list[Path]] = {}
    for path in folder.files:
        named = _MESSAGE.match(path.name)
        if named is not None:
            files.setdefault(named[1].lower(), []).append(path)
    for uuid, sounds in files.items():
        sounds.sort(key=lambda path: path.suffix.lower() != ".wav")
        where = folder.shown(sounds[0])
        try:
            yield _message(where, uuid, tuple(sounds), rows.get(uuid, {}), now)
        except (Damaged, OSError) as error:
            yield Found(where, why=error.why if isinstance(error, Damaged) else "it cannot be read")


def others(folder: Folder) -> list[Path]:
    """Files that are no message: greetings, recorded names, and what else lies there."""
    return [path for path in folder.files if not is_one(path)]


def _message(where: str, uuid: str, sounds: tuple[Path, ...], row: Mapping[str, str], now: datetime) -> Found:
    created = row.get("created_epoch", "").partition(".")[0]
    told = moment(created, now) if created else datetime.fromtimestamp(int(sounds[0].lstat().st_mtime), UTC)
    return Found(
        where=where,
        origin=uuid,
        sounds=sounds,
        received=min(told, now),
        caller=row.get("caller_id_number", "").strip(),
        heard=bool(row.get("read_epoch", "").strip(" 0")) or row.get("message_status", "") == "saved",
        flagged=row.get("message_priority", "").lower() in ("urgent", "a_urgent"),
    )


def table(path: Path) -> Rows:
    """The rows by their UUID, of a CSV with a line of names, or of a dump in SQL with COPY. Raises BadImport."""
    try:
        text = read(path, MOST_ROWS).decode("utf-8", "replace")
        copy = _COPY.search(text)
        found = _copied(copy[1], text[copy.end() :]) if copy else _csv(text)
    except (Damaged, csv.Error) as error:
        why = error.why if isinstance(error, Damaged) else "it is no table that can be read"
        raise BadImport(
            "The table of messages", why, "export v_voicemail_messages as CSV with names"
        ) from error
    if not found:
        raise BadImport(
            "The table of messages",
            f"it has no column {_KEY}",
            "export v_voicemail_messages as CSV with names",
        )
    return found


def _csv(text: str) -> dict[str, dict[str, str]]:
    rows = csv.DictReader(text.splitlines())
    return {
        key: {name: value for name, value in row.items() if isinstance(value, str)}
        for row in rows
        if (key := (row.get(_KEY) or "").strip().lower())
    }


def _copied(names: str, text: str) -> dict[str, dict[str, str]]:
    columns = [name.strip().strip('"') for name in names.split(",")]
    found = {}
    for line in text.lstrip("\r\n").splitlines():
        if line == "\\.":
            break
        row = dict(zip(columns, ("" if one == "\\N" else one for one in line.split("\t")), strict=False))
        if key := row.get(_KEY, "").strip().lower():
            found[key] = row
    return found
