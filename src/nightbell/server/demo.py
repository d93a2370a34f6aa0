"""Two demo practices with people in every role, and demo.json that tells tools and newcomers about them."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import transaction

from nightbell.audit import service as audit
from nightbell.core.config import Config
from nightbell.core.durable import write_file
from nightbell.core.errors import RefusedStart
from nightbell.flow.hours import Day
from nightbell.flow.plan import HOLIDAYS, MenuKey, Plan
from nightbell.line.state import first_version
from nightbell.mailbox.models import Mailbox, Number
from nightbell.oncall.models import Schedule, Shift
from nightbell.people import contacts, tokens
from nightbell.people.models import Practice, User
from nightbell.people.roles import Role

PRACTICES: list[dict[str, Any]] = [
    {
        "code": "MS01", "name": "Maple Street Family Medicine", "zone": "America/New_York",
        "number": "5035550100", "clip": "builtin:demo-practice-1",
        "mailboxes": ["Nurse line", "Appointments"],
        "plan": Plan(week=(Day(480, 1020, (720, 780)),) * 5 + (Day(None, None, None),) * 2, state="NY"),
        "people": {
            Role.CLINICIAN: [("rivera", "Dr. Elena Rivera"), ("patel", "Dr. Anika Patel")],
            Role.FRONT_DESK: [("ruiz", "Ana Ruiz")], Role.DISPATCHER: [("novak", "Jiří Novák")],
            Role.MANAGER: [("okafor", "Chidi Okafor")], Role.COMPLIANCE: [("lindqvist", "Åsa Lindqvist")],
            Role.IT_ADMIN: [("tran", "Bao Tran")],
        },
    },
    {
        "code": "HL02", "name": "Harbor Lane Pediatrics", "zone": "America/Los_Angeles",
        "number": "5035550190", "clip": "builtin:demo-practice-2",
        "mailboxes": ["Nurse line"],
        "plan": Plan(
            week=(*((Day(480, 1020, None),) * 5), Day(540, 720, None), Day(None, None, None)), state="CA",
            observed=(*HOLIDAYS, "Day After Thanksgiving"),
            keys=(
                MenuKey("1", "menu-urgent", urgency="urgent"), MenuKey("2", "menu-routine", asks="guided"),
                MenuKey("3", "menu-status", does="status"),
            ),
        ),
        "people": {
            Role.CLINICIAN: [("kim", "Dr. Grace Kim")], Role.FRONT_DESK: [("moreau", "Zoé Moreau")],
            Role.DISPATCHER: [("silva", "João Silva")], Role.MANAGER: [("haddad", "Nour Haddad")],
            Role.COMPLIANCE: [("weber", "Lena Weber")], Role.IT_ADMIN: [("sato", "Ken Sato")],
        },
    },
]  # fmt: skip


def fill(config: Config, now: datetime) -> None:
    """Make the demo practices once and write demo.json. Credentials are random for each home."""
    written, made = (config.home / "demo.json").exists(), Practice.objects.exists()
    if made and not written:
        raise RefusedStart(
            f"NIGHTBELL_HOME {config.home}",
            "its demo.json is gone, and with it the passwords of the demo's people",
            "remove both folders, NIGHTBELL_HOME and NIGHTBELL_KEYS: the next start makes a new demo",
        )
    if made:
        return
    with transaction.atomic():
        practices, users = [], []
        for plan in PRACTICES:
            practice, mailboxes = _practice(plan, now)
            practices.append(
                {
                    "id": practice.id,
                    "name": practice.name,
                    "sip_uri": f"sip:{practice.number}@{config.sip_bind[0]}:{config.sip_port}",
                    "mailboxes": [{"id": m.id, "name": m.name} for m in mailboxes],
                }
            )
            users += _people(practice, plan["people"], now)
        content = {
            "url": config.url,
            "ca_file": str(config.home / "tls" / "ca.pem"),
            "outbox": str(config.outbox),
            "practices": practices,
            "users": users,
        }
        # Before the commit: killed in between, the next start makes them anew and writes it over.
        write_file(config.home / "demo.json", json.dumps(content, indent=1, ensure_ascii=False).encode())


def _practice(plan: dict[str, Any], now: datetime) -> tuple[Practice, list[Mailbox]]:
    practice = Practice.objects.create(
        code=plan["code"], name=plan["name"], zone=plan["zone"], number=plan["number"], created_at=now,
        takes_unrouted=plan is PRACTICES[0],
    )  # fmt: skip
    audit.open_log(practice.id)
    mailboxes = [
        Mailbox.objects.create(practice=practice, name=name, position=i)
        for i, name in enumerate(plan["mailboxes"])
    ]
    Number.objects.create(dialled=plan["number"], mailbox=mailboxes[0])
    for i, mailbox in enumerate(mailboxes[1:], start=1):
        Number.objects.create(dialled=str(int(plan["number"]) + i), mailbox=mailbox)
    audit.record(practice.id, actor="system:setup", action="practice:create", now=now)
    named = {f"{language}/practice-name": plan["clip"] for language in plan["plan"].languages}
    first_version(practice, now, "system:setup", replace(plan["plan"], clips=named))
    return practice, mailboxes


def _people(
    practice: Practice, plan: dict[Role, list[tuple[str, str]]], now: datetime
) -> list[dict[str, str]]:
    made = []
    for role, people in plan.items():
        for login, name in people:
            made.append(_person(practice, role, login, name, now))
    schedule = Schedule.objects.create(
        practice=practice, fallback=User.objects.get(practice=practice, role=Role.MANAGER), steps=[]
    )
    clinicians = list(User.objects.filter(practice=practice, role=Role.CLINICIAN).order_by("id"))
    for weekday in range(7):
        for rank, user in enumerate(clinicians):
            Shift.objects.create(
                schedule=schedule, user=user, weekday=weekday, start=0, minutes=1440, rank=rank
            )
    return made


def _person(practice: Practice, role: Role, login: str, name: str, now: datetime) -> dict[str, str]:
    from allauth.mfa.totp.internal.auth import TOTP

    password = secrets.token_urlsafe(12)
    secret = base64.b32encode(secrets.token_bytes(20)).decode()
    user = User.objects.create(
        login=login,
        password=_hashed(password),
        name=name,
        role=role,
        practice=practice,
        email=f"{login}@{practice.code.lower()}.example",
    )
    TOTP.activate(user, secret)
    contacts.enrol(user, now, verified=True)  # invented people, whose notifications go to the outbox
    audit.record(
        practice.id, actor="system:setup", action="user:create", now=now, detail={"user": login, "role": role}
    )
    return {
        "practice": practice.id, "role": role.value, "login": login, "password": password,
        "totp_secret": secret, "api_token": tokens.issue(user, "demo", now),
    }  # fmt: skip


def _hashed(password: str) -> str:
    """One round of PBKDF2: nobody guesses 96 random bits, and thirteen slow hashes hold up a first start.

    At its first log-in Django hashes the password again, with all rounds.
    """
    hasher = PBKDF2PasswordHasher()
    return hasher.encode(password, hasher.salt(), iterations=1)


def _over_tls(config: Config, uri: str) -> str:
    return f"sips:{uri.removeprefix('sip:').rpartition(':')[0]}:{config.sips_port}"


def greeting(config: Config, wav: str) -> str:
    """What `serve --demo` prints when everything runs."""
    content = json.loads((config.home / "demo.json").read_text("utf-8"))
    first = content["practices"][0]
    lines = [
        "",
        "Nightbell is ready (demo: invented people, this machine only).",
        "",
        f"  Web       {content['url']}",
        "  Log in    "
        + "  ".join(f"{u['login']} / {u['password']} ({u['role']})" for u in content["users"][:1]),
        "  Code      .venv/bin/nightbell code rivera      (the six digits for any demo login; each counts once)",
        "  Everybody " + str(config.home / "demo.json"),
        f"  Trust     {content['ca_file']}  (import it as a certificate authority, or accept the warning)",
        "",
        "Place a call without a telephone (in another terminal, from this folder):",
        f"  .venv/bin/nightbell call {first['sip_uri']} --wav {wav} --digits 1,1",
        "the same encrypted, by TLS and SRTP:",
        f"  .venv/bin/nightbell call {_over_tls(config, first['sip_uri'])} --ca {config.sip_own / 'ca.pem'} --wav {wav} "
        "--digits 1,1",
        "then watch it arrive in the inbox, and the notification in " + content["outbox"],
        "",
    ]
    return "\n".join(lines)
