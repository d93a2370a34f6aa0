#!/usr/bin/env python3
"""Verifies an exported Nightbell audit log. One file, to be read and run by somebody who does not trust us.

    python3 offline_verify.py EXPORT [--vkey KEY] [--anchor NOTE-FILE]...

Needs Python 3.9+ and the package `cryptography` (Ed25519). Format: docs/formats/audit-log.md.
The log's key stands in the export, but a forger would put in his own: give the key (--vkey) and the
checkpoints (--anchor) that you received when they were made.

Exit: 0 the log is whole; 1 it is not (the first wrong entry is named); 2 wrong usage, unreadable file.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_KEYS = (
    ({"log", "vkey"}, {"log", "vkey"}),
    ({"seq", "leaf"}, {"seq", "leaf", "hash"}),
    ({"checkpoint"}, {"checkpoint"}),
)


@dataclass
class Report:
    """What was found. first_wrong: number of the first entry known to be wrong, if one can be named."""

    log: str = ""
    vkey: str = ""
    entries: int = 0
    checkpoints: int = 0
    problems: list[str] = field(default_factory=list)
    first_wrong: int | None = None

    @property
    def whole(self) -> bool:
        return not self.problems

    def wrong(self, text: str, seq: int | None = None) -> None:
        self.problems.append(text)
        if seq is not None and (self.first_wrong is None or seq < self.first_wrong):
            self.first_wrong = seq


class _Bad(Exception):
    pass


def _b64(text: object) -> bytes:
    if not isinstance(text, str):
        raise _Bad("not base64")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise _Bad("not base64") from None
    if base64.b64encode(data).decode() != text:
        raise _Bad("not canonical base64")
    return data


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _append(peaks: list[bytes], size: int, leaf: bytes) -> None:
    while size & 1:
        leaf = _node(peaks.pop(), leaf)
        size >>= 1
    peaks.append(leaf)


def _root(peaks: list[bytes]) -> bytes:
    if not peaks:
        return hashlib.sha256(b"").digest()
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = _node(peak, root)
    return root


def _parse_vkey(vkey: str) -> tuple[str, bytes, bytes]:
    """Name, id, public key."""
    name, _, rest = vkey.partition("+")
    id_hex, _, encoded = rest.partition("+")
    data = _b64(encoded)
    id = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
    if not name or data[:1] != b"\x01" or len(data) != 33 or id.hex() != id_hex:
        raise _Bad("the log's key is not a valid Ed25519 verifier key")
    return name, id, data[1:]


def _verify_note(note: str, vkey: str) -> list[str]:
    """The lines of a note that this key signed."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    name, id, public = _parse_vkey(vkey)
    text, gap, tail = note.rpartition("\n\n")
    if not gap or not tail.endswith("\n"):
        raise _Bad("it is not a signed note")
    for line in tail[:-1].split("\n"):
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014":
            raise _Bad("a signature line is garbled")
        data = _b64(parts[2])
        if parts[1] == name and data[:4] == id:
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(data[4:], (text + "\n").encode())
            except InvalidSignature:
                raise _Bad("its signature is wrong") from None
            return text.split("\n")
    raise _Bad("it is not signed by the log's key")


def _checkpoint(note: str, vkey: str, log: str) -> tuple[int, bytes]:
    """Size and root."""
    lines = _verify_note(note, vkey)
    if len(lines) < 3 or lines[0] != log:
        raise _Bad("it is a checkpoint of another log")
    if not lines[1].isdigit() or str(int(lines[1])) != lines[1]:
        raise _Bad("its size is garbled")
    return int(lines[1]), _b64(lines[2])


def _record(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        raise _Bad("it is not JSON") from None
    if not isinstance(record, dict) or not any(need <= set(record) <= may for need, may in _KEYS):
        raise _Bad("it is none of header, entry and checkpoint")
    if json.dumps(record, separators=(",", ":")) != line:
        raise _Bad("it is not in the form in which it was exported")
    return record


def check(lines: Iterable[str], vkey: str | None = None, anchors: Iterable[str] = ()) -> Report:
    """Verify the lines of an export, against `vkey` instead of its own key, and `anchors` (signed notes) besides."""
    report, hashes = Report(), bytearray()
    notes: list[tuple[str, str]] = []
    for number, raw in enumerate(lines, 1):
        try:
            _take(report, hashes, notes, number, _record(raw.rstrip("\n")))
        except _Bad as error:
            # An unreadable line hides the entry that would come next.
            report.wrong(f"line {number}: {error}", report.entries if number > 1 else None)
            if number == 1:
                return report
    if not report.log:
        report.wrong("the file has no header line")
        return report
    if vkey is not None and vkey.strip() != report.vkey:
        report.wrong("the export names another key than the one you gave")
        report.vkey = vkey.strip()
    notes += [(f"anchor {number}", note) for number, note in enumerate(anchors, 1)]
    _compare(report, hashes, notes)
    return report


def _take(
    report: Report, hashes: bytearray, notes: list[tuple[str, str]], number: int, record: dict[str, Any]
) -> None:
    if (number == 1) != ("log" in record):
        raise _Bad("the header must be the first line and only there")
    if number == 1:
        report.log, report.vkey = str(record["log"]), str(record["vkey"])
        _parse_vkey(report.vkey)
    elif "checkpoint" in record:
        notes.append((f"line {number}", str(record["checkpoint"])))
    else:
        _take_entry(report, hashes, record)


def _take_entry(report: Report, hashes: bytearray, record: dict[str, Any]) -> None:
    seq = report.entries
    if record["seq"] != seq or isinstance(record["seq"], bool):
        report.wrong(f"entry {seq} is missing: {record['seq']!r} stands in its place", seq)
    report.entries += 1
    digest = bytes(32)
    try:
        digest = hashlib.sha256(b"\x00" + _b64(record["leaf"])).digest()
        if record.get("hash", digest.hex()) != digest.hex():
            report.wrong(f"entry {seq} was altered: it does not fit its hash", seq)
    except _Bad as error:
        report.wrong(f"entry {seq} was altered: {error}", seq)
    hashes += digest


def _compare(report: Report, hashes: bytearray, notes: list[tuple[str, str]]) -> None:
    """Recompute the root at the size of every checkpoint."""
    stated: list[tuple[int, bytes, str]] = []
    for where, note in notes:
        try:
            size, root = _checkpoint(note, report.vkey, report.log)
            stated.append((size, root, where))
        except _Bad as error:
            report.wrong(f"checkpoint at {where}: {error}")
    peaks: list[bytes] = []
    done = good = longest = 0
    for size, root, where in sorted(stated):
        longest = max(longest, size)
        if size > report.entries:
            report.wrong(
                f"checkpoint at {where} counts {size} entries, here are only {report.entries}", report.entries
            )
            continue
        while done < size:
            _append(peaks, done, bytes(hashes[32 * done : 32 * done + 32]))
            done += 1
        report.checkpoints += 1
        if _root(peaks) != root:
            # An entry already known to be wrong explains it; and a later checkpoint may fit again (this one is
            # of another course of the log), so one that does not fit must not hide what comes after.
            seen = report.first_wrong
            report.wrong(
                f"checkpoint at {where} does not fit: an entry from {good} to {max(size - 1, 0)} was altered",
                seen if seen is not None and seen < size else good,
            )
            continue
        good = size
    if longest < report.entries:
        report.wrong(f"entries from {longest} on are covered by no checkpoint", longest)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Verify an exported Nightbell audit log.")
    parser.add_argument("export")
    parser.add_argument("--vkey", help="the log's key as you received it")
    parser.add_argument(
        "--anchor", action="append", default=[], help="a file with a checkpoint that you received"
    )
    options = parser.parse_args(arguments)
    try:
        anchors = [Path(path).read_text("utf-8") for path in options.anchor]
        with open(options.export, encoding="utf-8", newline="\n") as lines:
            report = check(lines, options.vkey, anchors)
    except ImportError:
        print("Cannot check signatures: install the package 'cryptography'.", file=sys.stderr)
        return 2
    except UnicodeDecodeError as error:
        print(f"NOT WHOLE: {options.export} holds bytes that are no text: {error.reason}.")
        return 1
    except OSError as error:
        print(f"Cannot read {error.filename}: {error.strerror}.", file=sys.stderr)
        return 2
    print(f"log {report.log}: {report.entries} entries, {report.checkpoints} checkpoints checked")
    print(
        f"key {report.vkey}"
        + ("" if options.vkey else " (from the file itself: compare it with the one you received)")
    )
    if report.whole:
        print("WHOLE: every entry is as it was when the checkpoints were signed.")
        return 0
    for problem in report.problems[:20]:
        print(f"NOT WHOLE: {problem}.")
    if report.first_wrong is not None:
        print(f"first wrong entry: {report.first_wrong}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
