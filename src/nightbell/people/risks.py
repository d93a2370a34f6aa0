"""Risks that somebody accepted on record (45 CFR 164.306(d)(3)): what, why, by whom, until when.

Nothing ends by itself when the time is up: what was accepted goes on working, and health and evidence are red until
somebody accepts it anew or withdraws it. Cutting a practice's line at midnight would lose messages.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from nightbell.core.clock import iso
from nightbell.people.access import NotFound
from nightbell.people.installation import By, note
from nightbell.people.models import RiskAcceptance
from nightbell.people.risk_rules import check

PLAIN_TRUNK = "plain_trunk"  # calls of a trunk may come unencrypted


def accept(
    by: By, kind: str, subject: str, about: str, reason: str, until: datetime, covers: str
) -> RiskAcceptance:
    """Put it on record; one that was in force is ended by it. subject: the id of the thing; about: the thing in words
    as it is now, all of it ('sip.carrier.example by UDP'); covers: the same as a hash of all that matters, to tell later whether
    it is the same thing still. Raises BadRisk, AuditClosed."""
    words = check(reason, until, by.now)
    with transaction.atomic():
        before = _in_force(kind, subject).update(ended_at=by.now, ended_by=by.name)
        made = RiskAcceptance.objects.create(
            kind=kind, subject=subject, about=about, reason=words, accepted_by=by.name,
            accepted_name=by.user.name if by.user else by.name, accepted_at=by.now, until=until, covers=covers,
        )  # fmt: skip
        note(
            by,
            "risk:accept",
            {
                "risk": made.id, "kind": kind, "subject": subject, "until": iso(until), "renewed": before > 0,
                "covers": covers,
                "reason_sha256": hashlib.sha256(words.encode()).hexdigest(),
            },
        )  # fmt: skip
    return made


def withdraw(by: By, kind: str, subject: str) -> None:
    """Take it back, at once. Raises NotFound when there is none."""
    with transaction.atomic():
        if not _in_force(kind, subject).update(ended_at=by.now, ended_by=by.name):
            raise NotFound("No risk is accepted here", "it was withdrawn already", "reload the page")
        note(by, "risk:withdraw", {"kind": kind, "subject": subject})


def on_record(kind: str) -> dict[str, RiskAcceptance]:
    """What is accepted and not withdrawn, expired ones too, by subject."""
    found = RiskAcceptance.objects.filter(kind=kind, ended_at=None).order_by("accepted_at", "id")
    return {one.subject: one for one in found}


def _in_force(kind: str, subject: str) -> QuerySet[RiskAcceptance]:
    return RiskAcceptance.objects.filter(kind=kind, subject=subject, ended_at=None)
