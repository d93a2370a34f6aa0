"""`nightbell import`: brings over the messages of another voicemail. The OS user is the actor in the log."""

from __future__ import annotations

import argparse
import getpass
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from nightbell.core.clock import utc_now
from nightbell.core.config import Config, check_keys_apart
from nightbell.server import home
from nightbell.server.django_setup import setup

if TYPE_CHECKING:
    from nightbell.line.importing.service import Entry, Report

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _import(config: Config, options: argparse.Namespace) -> int:
    home.require(config)
    check_keys_apart(config)
    setup()
    from nightbell.line.importing import fusionpbx, service
    from nightbell.server import wiring
    from nightbell.store import vault

    vault.require_keys()
    mailbox = service.home(options.practice, options.mailbox)
    rows = fusionpbx.table(options.rows) if options.rows else None
    into = service.Into(mailbox, config.spool, wiring.decoder(config), wiring.unpacker())
    actor = f"os:{getpass.getuser()}"
    report = service.run(
        options.folder.absolute(), into, actor, utc_now(), options.kind or "", rows, options.dry_run
    )
    if options.json:
        print(json.dumps(as_dict(report), indent=1))
    else:
        print("\n".join(told(report)))
    return 0


def as_dict(report: Report) -> dict[str, Any]:
    """The report as --json prints it. It names files, and no patient."""
    return {
        "from": report.kind,
        "dry_run": report.dry,
        "counts": report.counts,
        "urgent_unheard": report.waiting,
        "entries": [_entry(one) for one in report.entries],
    }


def _entry(one: Entry) -> dict[str, Any]:
    return {
        "path": one.where, "outcome": one.outcome, "why": one.why, "message": one.message, "heard": one.heard,
        "urgent": one.flagged,
    }  # fmt: skip


def told(report: Report) -> list[str]:
    """The report as a table: what needs a look first, then the counts."""
    shown = [one for one in report.entries if one.outcome != "imported"]
    lines = [f"{one.outcome:<9} {one.where}{': ' + one.why if one.why else ''}" for one in shown]
    counts = report.counts
    verb = "Would import" if report.dry else "Imported"
    lines.append(
        f"{verb} {counts['imported']} messages ({report.kind}). There already: {counts['again']}. "
        f"Damaged, left alone: {counts['damaged']}. No messages: {counts['skipped']}."
    )
    if report.waiting:
        lines.append(
            f"{report.waiting} of them were marked as urgent, and nobody had heard them. An import wakes nobody: "
            "have somebody listen now."
        )
    return lines


def add_to(commands: Commands) -> None:
    """Hang this command under `nightbell`."""
    words = "bring over the messages of another voicemail (Asterisk, FreePBX, FusionPBX)"
    sub = commands.add_parser("import", help=words, description=words)
    sub.set_defaults(run=_import)
    sub.add_argument(
        "folder", type=Path, metavar="DIR", help="the folder of the mailbox there; it is only read"
    )
    sub.add_argument("--practice", required=True, metavar="CODE", help="its code or id here")
    sub.add_argument(
        "--mailbox", required=True, metavar="NAME", help="the mailbox here that gets all of them"
    )
    sub.add_argument(
        "--from", dest="kind", choices=("asterisk", "fusionpbx"), help="default: what it looks like"
    )
    sub.add_argument(
        "--rows", type=Path, metavar="FILE", help="export of v_voicemail_messages (CSV or SQL dump)"
    )
    sub.add_argument("--dry-run", action="store_true", help="read and report, take nothing")
    sub.add_argument("--json", action="store_true")
