"""Voicemail of Asterisk and FreePBX: CONTEXT/BOX/FOLDER/msgNNNN.txt, and beside it the sound in one or more formats."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from nightbell.line.importing.found import MOST_TEXT, Damaged, Folder, Found, moment, read

_MESSAGE = re.compile(r"(msg[0-9]{4,6})\.([A-Za-z0-9]{2,5})\Z")
_NUMBER = re.compile(r"<([^<>]*)>\s*\Z")
# The same sound may lie there in several formats: what loses least comes first.
FORMATS = (
    *("wav", "sln", "raw", "ulaw", "ul", "mu", "pcm", "alaw", "al", "g722", "flac", "ogg", "WAV", "wav49", "gsm", "mp3"),
)  # fmt: skip
_UNHEARD = frozenset(["INBOX", "Urgent"])
_HEARD = frozenset(["Old", "Work", "Family", "Friends", "Cust1", "Cust2", "Cust3", "Cust4", "Cust5"])


def is_one(path: Path) -> bool:
    """Whether the name is of a message's description."""
    found = _MESSAGE.match(path.name)
    return found is not None and found[2] == "txt"


def messages(folder: Folder, now: datetime) -> Iterator[Found]:
    """All messages, in the order of their paths. A damaged one says why."""
    groups: defaultdict[tuple[Path, str], dict[str, Path]] = defaultdict(dict)
    for path in folder.files:
        named = _MESSAGE.match(path.name)
        if named is not None:
            groups[path.parent, named[1]][named[2]] = path
    for (_, _), files in sorted(groups.items()):
        first = files.get("txt", next(iter(files.values())))
        try:
            yield _message(folder.shown(first), files, now)
        except Damaged as damaged:
            yield Found(folder.shown(first), why=damaged.why)


def others(folder: Folder) -> list[Path]:
    """Files that are no part of a message: greetings, and what else lies there."""
    return [path for path in folder.files if not _MESSAGE.match(path.name)]


def _message(where: str, files: dict[str, Path], now: datetime) -> Found:
    if "txt" not in files:
        raise Damaged("its description is missing: the recording was never finished")
    sounds = tuple(files[one] for one in FORMATS if one in files)
    if not sounds:
        raise Damaged("its sound is missing")
    values = fields(read(files["txt"], MOST_TEXT))
    tray = files["txt"].parent.name
    caller = values.get("callerid", "")
    number = _NUMBER.search(caller)
    return Found(
        where=where,
        origin="|".join(values.get(name, "") for name in ("origmailbox", "origtime", "callerid", "msg_id")),
        sounds=sounds,
        received=moment(values.get("origtime", ""), now),
        caller=(number[1] if number else caller).strip(),
        heard=tray in _HEARD,
        flagged=tray == "Urgent" or values.get("flag", "").lower() == "urgent",
    )


def fields(data: bytes) -> dict[str, str]:
    """The lines 'name=value' of the part [message]. Raises Damaged where there is none."""
    if b"[message]" not in data or b"\0" in data:
        raise Damaged("its description cannot be read")
    found: dict[str, str] = {}
    for line in data.partition(b"[message]")[2].decode("utf-8", "replace").splitlines():
        name, equals, value = line.partition("=")
        if line.startswith("["):
            break
        if equals and not name.lstrip().startswith(";"):
            found.setdefault(name.strip().lower(), value.strip())
    return found
