"""The keyring: every key that something sealed depends on, each wrapped by the period key.

Erasure is: delete the entry, compact. Compaction moves the survivors under a new period key and
destroys the old one, so that no copy of the old entries (backup, log file, snapshot) opens again.

    wrapped = 0x01, nonce (12), AES-256-GCM(period key, key, AAD)
    AAD     = "nightbell entry v1" 0x00, then id, kind and period, each with its length u16 before it
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nightbell.core.durable import write_file
from nightbell.sealing.entries import open_entries
from nightbell.sealing.errors import (
    KeyUnavailable,
    NoSuchKey,
    SealError,
    StaleKeyring,
    Tampered,
    UnknownFormat,
)
from nightbell.sealing.periods import Periods
from nightbell.sealing.provider import KeyProvider

KINDS = frozenset({"message", "epoch", "signer", "secret", "carrier"})
_VERSION, _NONCE = b"\x01", 12
_FORMAT = "nightbell keyring backup v1"
_UPSERT = (
    "INSERT INTO entries (id, kind, wrapped, period) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
    " SET wrapped = excluded.wrapped, period = excluded.period WHERE entries.kind = excluded.kind"
)
_SET_STATE = (
    "INSERT INTO state (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_Entry = tuple[str, str, bytes, str]

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction did. Whatever was destroyed before `started` cannot be opened any more.

    survivors: entries moved; scrubbed: deleted bytes are also out of the keyring's own files.
    """

    started: str
    period: str
    destroyed: tuple[str, ...]
    survivors: int
    scrubbed: bool


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore brought back; unopenable: entries whose period key is not there."""

    entries: int
    unopenable: int


class Keyring:
    """Keys by id. Safe for threads and processes; nothing unwrapped is kept between calls.

    location: path of a SQLite file, or a postgresql:// URL; period_dir: folder of the period keys,
    apart from the data; slot: a file on another disk that always holds a copy of the period keys.
    Methods raise KeyUnavailable while the provider or a period key is out of reach.
    """

    batch = 500  # entries in one statement or transaction

    def __init__(
        self, location: str | Path, period_dir: Path, provider: KeyProvider, slot: Path | None = None
    ) -> None:
        self.periods = Periods(period_dir, provider)
        self._entries = open_entries(str(location))
        self._slot = slot

    def close(self) -> None:
        self._entries.close()

    def put(self, id: str, kind: str, key: bytes) -> None:
        """Keep `key`; durable on return. The same id again replaces it; another kind is a ValueError."""
        self.put_all({id: key}, kind)

    def put_all(self, keys: Mapping[str, bytes], kind: str) -> None:
        """As `put`, for several by id: all of them or none, with one use of the provider."""
        if kind not in KINDS or any(not id or len(id) > 200 for id in keys):
            raise ValueError("an entry has a short id and one of the known kinds")
        while True:
            period = self._current() or self._begin()
            try:
                opened = self.periods.open(period)
            except KeyUnavailable:
                if self._current() == period:  # else a compaction moved on and destroyed it in between
                    raise
                continue
            wrapped = [(id, kind, _wrap(opened, (id, kind, period), key), period) for id, key in keys.items()]
            # The provider may be far away, so it is asked outside the transaction; a compaction
            # that switched meanwhile makes us ask again.
            with self._entries.writing():
                if self._current() == period:
                    for entry in wrapped:
                        if self._entries.run(_UPSERT, entry) != 1:
                            raise ValueError(f"{entry[0]} is the id of an entry of another kind")
                    return

    def get(self, id: str, kind: str) -> bytes:
        """The key. Raises NoSuchKey, KeyUnavailable, Tampered."""
        found = self.get_many([id], kind)
        if id not in found:
            raise NoSuchKey(f"key {id}", "it is not in the keyring: never made, or destroyed")
        return found[id]

    def get_many(self, ids: Iterable[str], kind: str) -> dict[str, bytes]:
        """Those of `ids` that exist, with one use of the provider for all. Raises as `get`, but for NoSuchKey."""
        wanted, found = list(dict.fromkeys(ids)), dict[str, bytes]()
        for at in range(0, len(wanted), self.batch):
            found |= self._get_batch(wanted[at : at + self.batch], kind)
        return found

    def _get_batch(self, ids: list[str], kind: str) -> dict[str, bytes]:
        marks = ",".join("?" * len(ids))
        before: list[_Entry] | None = None
        while True:
            rows = self._rows(f"WHERE kind = ? AND id IN ({marks})", (kind, *ids))
            try:
                opened = {period: self.periods.open(period) for period in {row[3] for row in rows}}
                return {row[0]: _unwrap(opened[row[3]], row) for row in rows}
            except KeyUnavailable:
                # A compaction may have moved the rows and destroyed their period key in between.
                if rows == before:
                    raise
                before = rows

    def has(self, id: str) -> bool:
        return bool(self._entries.query("SELECT 1 FROM entries WHERE id = ?", (id,)))

    def ids(self, kind: str) -> list[str]:
        """All ids of a kind, sorted."""
        rows = self._entries.query("SELECT id FROM entries WHERE kind = ? ORDER BY id", (kind,))
        return [str(row[0]) for row in rows]

    def destroy(self, id: str) -> bool:
        """Delete the entry; durable on return. Copies of it die with the next compaction. Whether it was there."""
        with self._entries.writing():
            return self._entries.run("DELETE FROM entries WHERE id = ?", (id,)) == 1

    def compact(self, now: str, step: Step = lambda name: None) -> Compaction:
        """Move all entries under a new period key and destroy the old one. May be killed at any point
        and started again. `now`: RFC 3339, kept as the start; `step` is told each durable step.

        Raises Busy, KeyUnavailable, Tampered (an entry is damaged) and StaleKeyring (an entry cannot be
        opened for want of its period key): then period keys are kept, since a better backup may need them.
        """
        with self.periods.exclusive():
            if stale := self.unopenable():
                raise _stale(len(stale), "nothing was compacted")
            current = self._current() or self._begin()
            self._drain(current, step)
            destroyed = self._drop_all_but(current, step)
            new = self.periods.create()
            step("created")
            self._export()
            step("exported")
            with self._entries.writing():
                self._entries.run(_SET_STATE, ("current", new))
            step("switched")
            survivors = self._drain(new, step)
            destroyed += self._drop_all_but(new, step)
            scrubbed = self._entries.scrub()
            step("scrubbed")
            with self._entries.writing():
                self._entries.run(_SET_STATE, ("compacted", now))
        return Compaction(now, new, tuple(destroyed), survivors, scrubbed)

    def last_compaction(self) -> str | None:
        """When the last completed compaction started, as it was told."""
        return self._state("compacted")

    def export_period(self, path: Path) -> None:
        """Copy the wrapped period keys into a slot, over what it held: for the loss of this disk."""
        self.periods.export(path)

    def change_provider(self, provider: KeyProvider) -> None:
        """Wrap the period keys under another provider key (KEK rotation). Raises Busy, KeyUnavailable."""
        with self.periods.exclusive():
            self.periods.rewrap(provider)
            self._export()

    def backup(self, path: Path) -> int:
        """Write all entries (wrapped) to `path`, durably; never a period key. The number of entries."""
        rows = self._rows("", ())
        lines = [json.dumps({"format": _FORMAT, "current": self._current(), "entries": len(rows)})]
        for id, kind, wrapped, period in rows:
            lines.append(json.dumps([id, kind, base64.b64encode(wrapped).decode(), period]))
        body = ("\n".join(lines) + "\n").encode()
        write_file(path, body + hashlib.sha256(body).hexdigest().encode() + b"\n")
        return len(rows)

    def unopenable(self) -> list[str]:
        """Ids of entries whose period key is not there."""
        there = set(self.periods.ids())
        rows = self._entries.query("SELECT id, period FROM entries ORDER BY id")
        lost = [str(id) for id, period in rows if period not in there]
        # A compaction may have switched between the two looks: only what is still so counts.
        return [id for id in lost if self._still_lost(id)] if lost else []

    def _still_lost(self, id: str) -> bool:
        rows = self._rows("WHERE id = ?", (id,))
        return bool(rows) and rows[0][3] not in self.periods.ids()

    def forget_unopenable(self) -> list[str]:
        """Give up, for ever, the entries that cannot be opened: only after no better backup was found."""
        return [id for id in self.unopenable() if self.destroy(id)]

    def restore(self, path: Path, partial: bool = False) -> Restored:
        """Replace all entries by those of a backup, destroyed ones that it still had included: replay
        disposals before anyone reads.

        Raises UnknownFormat, Busy, and StaleKeyring when the period key of an entry is gone (`partial`
        takes the others); then nothing was changed.
        """
        current, rows = _read_backup(path)
        with self.periods.exclusive(), self._entries.writing():
            there = set(self.periods.ids())
            unopenable = sum(row[3] not in there for row in rows)
            if unopenable and not partial:
                raise _stale(unopenable, f"the backup {path} is older than the last compaction")
            self._entries.run("DELETE FROM entries")
            for row in rows:
                self._entries.run(_UPSERT, row)
            if self._current() not in there:
                if current in there:
                    self._entries.run(_SET_STATE, ("current", current))
                else:
                    self._entries.run("DELETE FROM state WHERE name = 'current'")
        return Restored(len(rows), unopenable)

    def _state(self, name: str) -> str | None:
        rows = self._entries.query("SELECT value FROM state WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def _current(self) -> str | None:
        return self._state("current")

    def _begin(self) -> str:
        """The first period key. Of two processes that try at once, one wins."""
        new = self.periods.create()
        with self._entries.writing():
            self._entries.run(
                "INSERT INTO state (name, value) VALUES ('current', ?) ON CONFLICT DO NOTHING", (new,)
            )
            current = str(self._current())
        if current != new:
            self.periods.destroy(new)
        self._export()
        return current

    def _export(self) -> None:
        if self._slot is not None:
            self.periods.export(self._slot)

    def _rows(self, where: str, values: tuple[object, ...]) -> list[_Entry]:
        rows = self._entries.query(f"SELECT id, kind, wrapped, period FROM entries {where}", values)  # noqa: S608
        return [
            (str(id), str(kind), bytes(cast(bytes, wrapped)), str(period))
            for id, kind, wrapped, period in rows
        ]

    def _drain(self, period: str, step: Step) -> int:
        """Re-wrap under `period` what lies under others that still exist. The number of entries moved."""
        there = {other: self.periods.open(other) for other in self.periods.ids()}
        moved, last, damaged = 0, "", []
        while rows := self._rows(
            "WHERE period <> ? AND id > ? ORDER BY id LIMIT ?", (period, last, self.batch)
        ):
            last = rows[-1][0]
            changes = []
            for row in rows:
                if row[3] in there:
                    try:
                        key = _unwrap(there[row[3]], row)
                    except SealError:
                        damaged.append(row[0])
                        continue
                    changes.append(
                        (_wrap(there[period], (row[0], row[1], period), key), period, row[0], row[2])
                    )
            with self._entries.writing():
                for change in changes:
                    # Someone may have replaced or destroyed the entry meanwhile: theirs holds.
                    moved += self._entries.run(
                        "UPDATE entries SET wrapped = ?, period = ? WHERE id = ? AND wrapped = ?", change
                    )
            step("drained")
        if damaged:
            raise Tampered(
                f"{len(damaged)} keyring entries, first {damaged[0]}",
                "they do not authenticate, so the old period key is kept and nothing is erased yet",
                "restore the keyring from its newest backup, or destroy these entries",
            )
        return moved

    def _drop_all_but(self, period: str, step: Step) -> list[str]:
        self.periods.bury()
        gone = [other for other in self.periods.ids() if other != period]
        for other in gone:
            self.periods.destroy(other)
            step("destroyed")
        if gone:
            self._export()
            step("exported")
        return gone


def _stale(count: int, why: str) -> StaleKeyring:
    return StaleKeyring(
        f"{count} keyring entries lie under a period key that is not there",
        why,
        "restore the newest keyring backup and the period slot; give the entries up only if there is none",
    )


def _aad(id: str, kind: str, period: str) -> bytes:
    parts = [part.encode() for part in (id, kind, period)]
    return b"nightbell entry v1\x00" + b"".join(struct.pack(">H", len(part)) + part for part in parts)


def _wrap(period_key: bytes, names: tuple[str, str, str], key: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return _VERSION + nonce + AESGCM(period_key).encrypt(nonce, key, _aad(*names))


def _unwrap(period_key: bytes, row: _Entry) -> bytes:
    id, kind, wrapped, period = row
    if wrapped[:1] != _VERSION or len(wrapped) < 1 + _NONCE:
        raise UnknownFormat(f"keyring entry {id}", "its version is not 1")
    try:
        return AESGCM(period_key).decrypt(
            wrapped[1 : 1 + _NONCE], wrapped[1 + _NONCE :], _aad(id, kind, period)
        )
    except InvalidTag:
        raise Tampered(
            f"keyring entry {id}", "it does not authenticate", "restore the keyring from its backup"
        ) from None


def _read_backup(path: Path) -> tuple[str | None, list[_Entry]]:
    data = path.read_bytes()
    body, sum_line = data[:-65], data[-65:]
    if sum_line != hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise UnknownFormat(f"the keyring backup {path}", "its checksum is wrong", "use another backup")
    try:
        head, *rest = [json.loads(line) for line in body.splitlines()]
        if head["format"] != _FORMAT or head["entries"] != len(rest):
            raise ValueError("another format or number of entries")
        return head["current"], [
            (str(i), str(k), base64.b64decode(w, validate=True), str(p)) for i, k, w, p in rest
        ]
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise UnknownFormat(f"the keyring backup {path}", "it is not of version 1") from error
