"""How the parts are, without PHI: written by the worker, read by web, status and the supervisor."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from nightbell.core.clock import iso, parse_iso, utc_now
from nightbell.core.config import Config, load
from nightbell.core.durable import write_file
from nightbell.sealing import spool
from nightbell.server import carriers, hook_status, running

WORDS = frozenset({"email", "sms"})  # without either the line promises nothing (routing)
STALE = timedelta(seconds=30)
SNAPSHOT_STALE_S = 120
DISK_FREE, DISK_SHARE = 10**9, 0.05
AUDITOR_SILENT_S = 30
_INSTEAD = {
    "nobody": "an alert that nobody takes reaches nobody (How I am told: prove the email)",
    "managers": "other managers are told in its place",
}
WAITED_S = 120  # a capture is taken in within seconds; after that long something keeps it


def write(config: Config, report: dict[str, Any], now: datetime) -> None:
    """The worker's word, replaced at once."""
    said = {"at": iso(now), "settings": running.told(config), **report}
    write_file(config.home / "run" / "health.json", json.dumps(said).encode())


def read(config: Config, now: datetime) -> dict[str, Any]:
    """The last report judged now: {"ok": bool, "checks": {name: {"ok": bool, "says": str}}, "at": ...}."""
    try:
        report = json.loads((config.home / "run" / "health.json").read_text("utf-8"))
        age = now - parse_iso(report["at"])
    except (OSError, ValueError, KeyError):
        return _judged({"worker": _check(False, "has not reported yet"), **_seen_from_here(config, now)}, {})
    if age >= STALE:  # what it said then proves nothing of now
        silent = _check(
            False, f"silent for {round(age.total_seconds())} s: all else that it tells is unknown"
        )
        return _judged({"worker": silent, **_seen_from_here(config, now)}, report)
    checks = {
        "worker": _check(True, "running"),
        "keys": _check(report.get("keys") == "here", f"{report.get('keys', 'unknown')}"),
        "audit": _check(report.get("audit") == "open", f"{report.get('audit', 'unknown')}"),
        "speech": _check(report.get("speech") == "ready", f"{report.get('speech', 'unknown')}"),
        "alerts": _check(
            not report.get("standing_still"), f"{report.get('standing_still', 0)} standing still"
        ),
        "notify": _check(
            "channels" not in report or bool(WORDS.intersection(report["channels"])),
            _ways(report.get("channels", [])),
        ),
        **_alerted(report),
        "phone": _phones(report.get("phones", [])),
        "lines": _lines(report.get("lines_damaged", []), report.get("lines_kept", {})),
        "work": _work(report),
        **_carrier(config, report, now),
        **_webhooks(report),
        **_records(report),
        **_seen_from_here(config, now),
    }
    return _judged(checks, report)


def _ways(channels: Sequence[str]) -> str:
    if WORDS.isdisjoint(channels):
        return "no mail and no text messages are set up: the line promises no call back (NIGHTBELL_SMTP)"
    return ", ".join(channels)


def _alerted(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the auditor found, and practices where nobody has proved any way to be told."""
    checks = {}
    told = report.get("auditor")
    if isinstance(told, dict):
        found, age = told.get("found"), _seconds(told.get("age_s"))
        quiet = age > AUDITOR_SILENT_S
        says = (
            f"{found} standing still: {', '.join(told.get('why', []))}" if found else "nothing stands still"
        )
        says = "cannot look" if found is None else f"has not looked for {round(age)} s" if quiet else says
        checks["auditor"] = _check(found == 0 and not quiet, says)
    codes = report.get("unreachable")
    if isinstance(codes, list):
        alone = f"{', '.join(codes)}: nobody there has proved a way to be told; nobody can be woken"
        checks["reachable"] = _check(not codes, alone if codes else "each practice has somebody")
    return checks | _last_resorts(report)


def _last_resorts(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Red while a practice has a last resort that nobody named, or that has not proved any way to be told."""
    told = report.get("last_resort")
    if not isinstance(told, dict):
        return {}
    says = [f"{code}: has proved no way to be told; {_INSTEAD.get(who, who)}" for code, who in told.items()]
    return {"last_resort": _check(not says, "; ".join(says) or "can be told in each practice")}


def _seen_from_here(config: Config, now: datetime) -> dict[str, dict[str, Any]]:
    """What needs no word of the worker's."""
    return {"spool": _spool(config, now), "disk": _disk(config)}


def _check(ok: bool, says: str) -> dict[str, Any]:
    return {"ok": ok, "says": says}


def _spool(config: Config, now: datetime) -> dict[str, Any]:
    """Red when a capture cannot be read, or has waited for so long that somebody must look."""
    try:
        waiting = spool.waiting(config.spool)
        since = [path.stat().st_mtime for path in waiting if path.exists()]
        unreadable = sum(1 for _ in (config.home / "phone" / "unreadable").glob("*"))
        unreadable += len(spool.strange(config.spool))
    except OSError:
        return _check(False, "cannot be read")
    oldest = round(now.timestamp() - min(since, default=now.timestamp()))
    late = oldest > WAITED_S
    says = f"{len(waiting)} waiting{f' for up to {oldest} s' if late else ''}, {unreadable} unreadable"
    return _check(not unreadable and not late, says)


def _phones(phones: list[dict[str, Any]]) -> dict[str, Any]:
    """Red without a phone, when one says what cannot be, and when one has an old snapshot (DESIGN decision 16)."""
    fresh = [p for p in phones if p.get("age_s", 999) < SNAPSHOT_STALE_S]
    old = [p for p in fresh if _seconds(p.get("snapshot_age")) > SNAPSHOT_STALE_S]
    odd = sum(bool(p.get("wrong")) for p in fresh)
    says = f"{len(fresh)} running" + (f", {len(old)} with an old snapshot" if old else "")
    says += f", {odd} with a report that cannot be right" if odd else ""
    return _check(bool(fresh) and not old and not odd, says)


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _disk(config: Config) -> dict[str, Any]:
    """Red before a disk is full: below a twentieth of it, or 1 GB if that is less."""
    tight, least = [], 1.0
    for name, folder in (("database", config.home / "db"), ("spool", config.spool), ("data", config.home)):
        try:
            disk = os.statvfs(folder)
        except OSError:
            return _check(False, f"{name}: cannot be read")
        free, size = disk.f_bavail * disk.f_frsize, max(1, disk.f_blocks * disk.f_frsize)
        least = min(least, free / size)
        if free < min(DISK_FREE, size * DISK_SHARE):
            tight.append(name)
    says = f"{', '.join(tight)}: nearly full, make room" if tight else "room enough"
    return _check(not tight, f"{says} ({least:.0%} free)")


def _lines(damaged: list[str], kept: dict[str, str]) -> dict[str, Any]:
    """Red when callers hear an older line than the one in force. damaged: codes of practices; kept: codes of those
    whose line cannot be made, with the error's name."""
    says = []
    if damaged:
        says.append(
            f"{', '.join(damaged)}: the stored line is damaged, callers hear an older one; bring a version back"
        )
    if kept:
        named = ", ".join(f"{code} ({error})" for code, error in sorted(kept.items()))
        says.append(
            f"{named}: the line cannot be made, callers hear the last one without a promise; "
            "look at the practice's time zone and schedule"
        )
    return _check(not says, "; ".join(says) or "all can be read")


def _carrier(config: Config, report: dict[str, Any], now: datetime) -> dict[str, dict[str, Any]]:
    """Whether carriers reach the line; nothing before the worker looked."""
    stored = report.get("trunks")
    if not isinstance(stored, list):
        return {}
    return {"carrier": carriers.check(stored, report.get("phones", []), config, now)}


def _webhooks(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Calls that a provider holds for us; nothing where no provider is set up."""
    told = report.get("webhooks")
    return {"webhooks": _check(*hook_status.judged(told))} if isinstance(told, dict) else {}


def _records(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Signed notes on their way to a practice's own record system; nothing where there is none."""
    told = report.get("records")
    if not isinstance(told, dict):
        return {}
    late, failed = told.get("late", 0), told.get("failed", 0)
    return {
        "records": _check(not late and not failed, f"{late} notes wait, {failed} refused: see Record system")
    }


def _work(report: dict[str, Any]) -> dict[str, Any]:
    """The worker's loops and upkeep: what failed when it was last tried."""
    failing = sorted(name for name, state in report.get("loops", {}).items() if state != "ok")
    failing += sorted(report.get("trouble", {}))
    return _check(not failing, ", ".join(failing) + " failing" if failing else "all going on")


def _judged(checks: dict[str, dict[str, Any]], report: dict[str, Any]) -> dict[str, Any]:
    # Without words a message can still be heard, and a note is kept here: neither makes the line red.
    vital = all(check["ok"] for name, check in checks.items() if name not in ("speech", "records"))
    return {
        "ok": vital,
        "checks": checks,
        "at": report.get("at", ""),
        "phones": report.get("phones", []),
        "trunks": report.get("trunks") or [],
    }


def of_this_home() -> dict[str, Any]:
    """For the web process."""
    return read(load(), utc_now())
