"""Commands for the person who looks after the installation. Their OS user is the actor in the log."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from nightbell.core.clock import utc_now
from nightbell.core.config import Config, check_keys_apart
from nightbell.core.errors import RefusedStart
from nightbell.server import home, voice_admin
from nightbell.server.django_setup import setup

Run = Callable[[Config, argparse.Namespace], int]


def _actor() -> str:
    return f"os:{getpass.getuser()}"


def _ready(config: Config) -> None:
    home.require(config)
    setup()


def _check(config: Config, options: argparse.Namespace) -> int:
    """What could be wrong before it is."""
    mode = home.require(config)
    check_keys_apart(config)
    setup()
    from nightbell.store import vault

    vault.require_keys()
    free = os.statvfs(config.home)
    gigabytes = free.f_bavail * free.f_frsize / 1e9
    print(f"{mode} home at {config.home}; keys apart at {config.keys}; {gigabytes:.1f} GB free")
    return 0 if gigabytes > 0.5 else 1


def _backup(config: Config, options: argparse.Namespace) -> int:
    _ready(config)
    from nightbell.server import backup

    blobs = backup.save(config, options.data.absolute(), options.keyring.absolute(), _actor(), utc_now())
    print(
        f"Saved the database and {blobs} sealed recordings to {options.data}, the keyring to {options.keyring}."
    )
    return 0


def _restore(config: Config, options: argparse.Namespace) -> int:
    setup()
    from nightbell.server import backup

    data, ring = options.data.absolute(), options.keyring_file.absolute()
    backup.check_pair(data, ring)
    if home.stamp(config) is None:  # a new machine: the backup says what it was
        home.make(config, backup.mode_of(data) or home.REAL, utc_now())
    report = backup.load(config, data, ring, _actor(), utc_now())
    home.prepare_database(config, utc_now())
    print(
        f"Restored {report['keys']} keys ({report['unopenable']} without their period key); "
        f"{report['disposals']} messages that were destroyed after the backup are gone again."
    )
    return 0


def _audit_verify(config: Config, options: argparse.Namespace) -> int:
    _ready(config)
    from nightbell.audit import service as audit
    from nightbell.audit import verify
    from nightbell.people.models import Practice

    expected = [audit.INSTALLATION, *Practice.objects.values_list("pk", flat=True)]
    reports = verify.all_logs(config.url, config.home / "checkpoints", options.log, expected)
    if options.json:
        print(json.dumps([r.as_dict() for r in reports], indent=1))
    else:
        for report in reports:
            print(report.line())
    return 0 if all(r.ok for r in reports) else 1


def _audit_export(config: Config, options: argparse.Namespace) -> int:
    _ready(config)
    from nightbell.audit import verify

    verify.export(options.log, options.file, config.url, _actor(), utc_now())
    print(
        f"Wrote {options.file}. Check it anywhere with offline_verify.py (one file, see docs/formats/audit-log.md)."
    )
    return 0


def _audit_checkpoint(config: Config, options: argparse.Namespace) -> int:
    _ready(config)
    from nightbell.audit import signing

    print(f"Signed {signing.checkpoint_all(config.url, config.home / 'checkpoints', utc_now())} logs.")
    return 0


def _keys_rotate(config: Config, options: argparse.Namespace) -> int:
    """A new sealing epoch and a new period key, now."""
    _ready(config)
    from nightbell.compliance import disposal
    from nightbell.mailbox import epochs
    from nightbell.server import routing

    now = utc_now()
    epochs.begin(now, _actor())
    disposal.compact(now)
    routing.publish(config, now)
    print("New sealing epoch and new period key are in force; the old period key is destroyed.")
    return 0


def _keys_status(config: Config, options: argparse.Namespace) -> int:
    _ready(config)
    from nightbell.mailbox.models import SealingEpoch
    from nightbell.store import vault

    ring = vault.keyring()
    status = {
        "messages": len(ring.ids("message")),
        "epochs": list(
            SealingEpoch.objects.filter(destroyed_at=None).order_by("id").values_list("id", flat=True)
        ),
        "last_compaction": ring.last_compaction(),
    }
    print(json.dumps(status, indent=1) if options.json else "\n".join(f"{k}: {v}" for k, v in status.items()))
    return 0


def _keys_kit(config: Config, options: argparse.Namespace) -> int:
    """The recovery kit, on the terminal: for a printer, not for a disk. The log keeps that it was printed."""
    home.require(config)
    setup()
    from nightbell.audit import service as audit
    from nightbell.core.clock import iso
    from nightbell.sealing.kit import print_kit
    from nightbell.sealing.provider import FileKeyProvider

    now = utc_now()
    key = FileKeyProvider(config.keys / "kek.key").read()
    audit.record(audit.INSTALLATION, actor=_actor(), action="keys:kit", now=now)
    print(print_kit(key, iso(now), config.url))
    return 0


def _keys_restore(config: Config, options: argparse.Namespace) -> int:
    """From paper to key file, on a machine that has none; then the period keys from their slot."""
    from nightbell.sealing.kit import parse_kit
    from nightbell.sealing.periods import Periods
    from nightbell.sealing.provider import FileKeyProvider

    path = config.keys / "kek.key"
    if path.exists():
        raise RefusedStart(
            "the key file", f"{path} is there already", "move it away first if it is the wrong one"
        )
    if sys.stdin.isatty():
        print("Type the four lines of the kit, then an empty line:", flush=True)
    key = parse_kit("\n".join(iter(sys.stdin.readline, "\n")) if sys.stdin.isatty() else sys.stdin.read())
    config.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    provider = FileKeyProvider.create(path, key)
    periods = 0
    if options.slot is not None:
        (config.keys / "periods").mkdir(mode=0o700, exist_ok=True)
        periods = len(Periods(config.keys / "periods", provider).adopt(options.slot))
    print(f"The key file is back, with {periods} period keys. Next: nightbell restore DATA KEYRING-FILE")
    return 0


def _practice(config: Config, options: argparse.Namespace) -> int:
    _ready(config)
    from django.db import transaction

    from nightbell.line.state import first_version
    from nightbell.oncall.founding import found

    now = utc_now()
    with transaction.atomic():
        practice = found(options.name, options.zone, options.number, _actor(), now)
        first_version(practice, now, _actor())
    print(practice.id)
    print("Next: nightbell user add, practice fallback LOGIN; they prove their email", file=sys.stderr)
    return 0


def _fallback(config: Config, options: argparse.Namespace) -> int:
    _ready(config)
    from nightbell.server import first_run

    print(first_run.fallback(options.login, _actor(), utc_now(), config.url))
    return 0


def _disable(config: Config, options: argparse.Namespace) -> int:
    _ready(config)
    from django.db import transaction

    from nightbell.core.clock import iso
    from nightbell.mailbox.service import give_back_all
    from nightbell.mailbox.shown import hold_all
    from nightbell.oncall.gaps import person_left
    from nightbell.people import covers
    from nightbell.people.practices import lock_out, person

    user, now = person(options.login), utc_now()
    with transaction.atomic():
        everywhere = [user, *covers.guests(user)]  # what they cover elsewhere is left too
        hold_all(*everywhere)
        lock_out(user, _actor(), now)
        freed = sum(give_back_all(one, _actor(), now) for one in everywhere)
        left = [span for one in everywhere for span in person_left(one, _actor(), now)]
    if left:
        hours = round(sum((end - start).total_seconds() for start, end in left) / 3600)
        print(
            f"In the next 60 days {hours} h have nobody on call now, from {iso(left[0][0])}. Look at the schedule."
        )
    print(f"{options.login} is locked out." + (f" Messages given back: {freed}." if freed else ""))
    return 0


def _reset(config: Config, options: argparse.Namespace) -> int:
    _ready(config)
    from nightbell.people.practices import person, start_anew

    password = secrets.token_urlsafe(12)
    start_anew(person(options.login), password, _actor(), utc_now())
    print(
        f"{options.login} may log in with this password, shown once, and sets a second factor then: {password}"
    )
    return 0


def _token_add(config: Config, options: argparse.Namespace) -> int:
    _ready(config)
    from nightbell.people import tokens
    from nightbell.people.practices import person

    print(tokens.add(person(options.login), options.name, _actor(), utc_now()))
    return 0


def _token_revoke(config: Config, options: argparse.Namespace) -> int:
    _ready(config)
    from nightbell.people import tokens
    from nightbell.people.practices import person

    print(f"{tokens.revoke(person(options.login), options.name, _actor(), utc_now())} tokens revoked.")
    return 0


def _user(config: Config, options: argparse.Namespace) -> int:
    _ready(config)
    from nightbell.people.models import Practice
    from nightbell.people.practices import BadPerson, add_user

    practice = Practice.objects.filter(pk=options.practice).first()
    if practice is None:
        raise BadPerson("The user was not made", "there is no such practice", "run: nightbell practice list")
    password = secrets.token_urlsafe(12)
    user = add_user(
        practice, options.login, options.name, options.role, options.email, password, _actor(), utc_now()
    )
    print(f"{user.login} may log in with this password, shown once: {password}")
    return 0


def _line(config: Config, options: argparse.Namespace) -> int:
    _ready(config)
    from nightbell.server import line_status

    lines = line_status.read(config, utc_now())
    if options.json:
        print(json.dumps(lines, indent=1))
    else:
        print("\n".join(line_status.told(lines)))
    return 0 if all(line["in_force"] for line in lines) else 1


def _list(config: Config, options: argparse.Namespace) -> int:
    _ready(config)
    from nightbell.people.models import Practice

    for practice in Practice.objects.order_by("id"):
        print(f"{practice.id}  {practice.code}  {practice.name}")
    return 0


def _code(config: Config, options: argparse.Namespace) -> int:
    """The six digits of a demo log-in, for people without an authenticator at hand."""
    home.require(config, home.DEMO)
    setup()
    from allauth.mfa.app_settings import TOTP_PERIOD
    from allauth.mfa.totp.internal import auth

    content = json.loads((config.home / "demo.json").read_text("utf-8"))
    user = next((u for u in content["users"] if u["login"] == options.login), None)
    if user is None:
        print(f"nightbell code: there is no demo login {options.login!r}", file=sys.stderr)
        return 1
    # The one of now: a code counts once, and none that is older than the last that counted.
    counter = int(utc_now().timestamp()) // TOTP_PERIOD
    print(auth.format_hotp_value(auth.hotp_value(user["totp_secret"], counter)))
    return 0


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add(parent: Commands, name: str, run: Run, words: str) -> argparse.ArgumentParser:
    sub = parent.add_parser(name, help=words, description=words)
    sub.set_defaults(run=run)
    return sub


def _group(commands: Commands, name: str, words: str) -> Commands:
    return commands.add_parser(name, help=words).add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )


def add_to(commands: Commands) -> None:
    """Hang these commands under `nightbell`."""
    _add(commands, "check", _check, "what could be wrong before it is")
    backup = _add(commands, "backup", _backup, "save data and keyring, to two folders apart")
    backup.add_argument("data", type=Path)
    backup.add_argument("keyring", type=Path)
    restore = _add(commands, "restore", _restore, "put a backup into this home (nothing may run on it)")
    restore.add_argument("data", type=Path)
    restore.add_argument("keyring_file", type=Path)
    _add_proofs(commands)
    _add_people(commands)
    line = _group(commands, "line", "what callers hear")
    _add(line, "status", _line, "what is in force and what the phone has").add_argument(
        "--json", action="store_true"
    )


def _add_proofs(commands: Commands) -> None:
    audit = _group(commands, "audit", "the audit log")
    verify = _add(audit, "verify", _audit_verify, "recompute every root and check every checkpoint")
    verify.add_argument("--log", default="", help="one practice id, or 'installation'; default: all")
    verify.add_argument("--json", action="store_true")
    export = _add(audit, "export", _audit_export, "write a log that anybody can verify")
    export.add_argument("log")
    export.add_argument("file", type=Path)
    _add(audit, "checkpoint", _audit_checkpoint, "sign the logs as they are now")
    keys = _group(commands, "keys", "keys")
    _add(keys, "rotate", _keys_rotate, "new sealing epoch and period key")
    _add(keys, "status", _keys_status, "what the keyring holds").add_argument("--json", action="store_true")
    _add(keys, "kit", _keys_kit, "print the recovery kit")
    back = _add(
        keys, "restore", _keys_restore, "make the key file from the printed kit (read from standard input)"
    )
    back.add_argument("--slot", type=Path, help="the file that NIGHTBELL_PERIOD_SLOT named")


def _add_people(commands: Commands) -> None:
    practice = _group(commands, "practice", "practices")
    made = _add(practice, "add", _practice, "make a practice with one mailbox and number")
    made.add_argument("name")
    made.add_argument("number")
    made.add_argument("--zone", default="America/New_York")
    _add(practice, "list", _list, "list practices")
    _add(practice, "fallback", _fallback, "who is told when nobody else is there").add_argument("login")
    voice_admin.add_to(practice)
    user = _group(commands, "user", "people")
    person = _add(user, "add", _user, "make a person with a log-in of their own")
    person.add_argument("practice")
    person.add_argument("login")
    person.add_argument("name")
    person.add_argument("role")
    person.add_argument("--email", default="")
    _add(
        user, "disable", _disable, "lock a person out, tokens included; what they owned is given back"
    ).add_argument("login")
    _add(user, "reset", _reset, "new password, second factor to be set anew, tokens revoked").add_argument(
        "login"
    )
    token = _group(commands, "token", "tokens of the API")
    for name, run, words in (
        ("add", _token_add, "make a token with all rights of a login, shown once"),
        ("revoke", _token_revoke, "end all tokens of that name"),
    ):
        sub = _add(token, name, run, words)
        sub.add_argument("login")
        sub.add_argument("name")
    _add(commands, "code", _code, "the six digits of a demo log-in").add_argument("login")
