"""Signed phone notes for a practice's own record system: an outbox that PHI leaves by, and only by a recorded decision.

Off unless an address is set *and* the practice put on record that this system may have it (its business associate
agreement, or that it is the practice's own). A job a note; each resource is made once by its identifier, however often
it is sent. While nobody may send, what is due waits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from nightbell.audit import service as audit
from nightbell.core import faults
from nightbell.core.config import load
from nightbell.core.errors import NightbellError
from nightbell.core.log import Log
from nightbell.core.phi import Warrant
from nightbell.core.records import Records, RecordsAway, RecordsRefused
from nightbell.mailbox.models import Note
from nightbell.mailbox.opening import Opener
from nightbell.oncall import fhir, phone_note
from nightbell.people import risks
from nightbell.people.access import Actor, demand
from nightbell.people.installation import By
from nightbell.people.models import Practice, RiskAcceptance
from nightbell.people.risk_rules import BadRisk, Standing, standing
from nightbell.people.roles import Act
from nightbell.sealing.errors import KeyUnavailable, SealError, StaleKeyring
from nightbell.store import jobs
from nightbell.store.models import Job
from nightbell.store.vault import KeysAway

KIND = "fhir"
RISK = "fhir"  # of people.risks; subject: the practice
ACTOR = "system:worker"
LEASE = timedelta(minutes=2)
LATE, TOLD_FOR = timedelta(hours=1), timedelta(days=7)
HELD = timedelta(minutes=10)  # until somebody may have decided, or mended a token


@dataclass(frozen=True, slots=True)
class RecordsView:
    """How it stands with a practice. host: of the record system, '' where none is set; allowed: whether notes leave."""

    host: str
    allowed: bool
    risk: RiskAcceptance | None
    moved: bool  # accepted for another address
    waiting: int
    failed: int


def covers(url: str) -> str:
    """What an acceptance is about: this address and no other. Pure."""
    return hashlib.sha256(url.encode()).hexdigest()


def _accepted(practice_id: str, url: str, now: datetime) -> bool:
    risk = risks.on_record(RISK).get(practice_id)
    return (
        bool(url)
        and risk is not None
        and risk.covers == covers(url)
        and standing(risk.until, now) is not Standing.EXPIRED
    )


def stands(actor: Actor) -> RecordsView:
    """For the page of those who decide."""
    demand(actor, Act.RECORDS)
    url, practice = load().fhir_url, actor.practice
    risk = risks.on_record(RISK).get(practice)
    mine = Job.objects.filter(
        kind=KIND, key__in=Note.objects.filter(message__practice_id=practice).values("pk")
    )
    return RecordsView(
        url.removeprefix("https://"), _accepted(practice, url, actor.now), risk,
        risk is not None and risk.covers != covers(url),
        mine.filter(ended_at=None).count(), mine.filter(outcome="dead").count(),
    )  # fmt: skip


def allow(actor: Actor, reason: str, until: datetime) -> None:
    """Put on record that this practice's notes may go to the system that is set. Raises BadRisk, Forbidden."""
    demand(actor, Act.RECORDS)
    url = load().fhir_url
    if not url:
        raise BadRisk("reason", "no record system is set", "set NIGHTBELL_FHIR_URL first")
    by = By(actor.name, actor.now, actor.source, actor.user)
    about = f"phone notes to {url.removeprefix('https://')}"
    with transaction.atomic():
        risks.accept(by, RISK, actor.practice, about, reason, until, covers(url))
        audit.record(
            actor.practice, actor=actor.name, action="records:allow", now=actor.now, source=actor.source,
            detail={"covers": covers(url)},
        )  # fmt: skip


def withdraw(actor: Actor) -> None:
    """From now on nothing leaves. Raises NotFound, Forbidden."""
    demand(actor, Act.RECORDS)
    with transaction.atomic():
        risks.withdraw(By(actor.name, actor.now, actor.source, actor.user), RISK, actor.practice)
        audit.record(
            actor.practice, actor=actor.name, action="records:withdraw", now=actor.now, source=actor.source
        )


def trouble(now: datetime) -> dict[str, int]:
    """Of all practices, for health: notes that wait for over an hour, and those that were given up this week."""
    notes = Job.objects.filter(kind=KIND)
    return {
        "late": notes.filter(ended_at=None, created_at__lt=now - LATE).count(),
        "failed": notes.filter(outcome="dead", ended_at__gt=now - TOLD_FOR).count(),
    }


def enqueue(practice: Practice, note_id: str, now: datetime) -> None:
    """In the transaction that keeps the note: due where a permission was given and not withdrawn. One that ran out, or is for
    another address, lets nothing leave; what is signed meanwhile waits for the next one as everything before it does."""
    if practice.id in risks.on_record(RISK):
        jobs.enqueue(KIND, note_id, now)


def run_one(store: Records, clock: Callable[[], datetime], log: Log) -> bool:
    """Send one note that is due. Returns whether there was one. Raises nothing that a note is to blame for."""
    claim = jobs.claim([KIND], clock(), LEASE)
    if claim is None:
        return False
    note = Note.objects.select_related("message__practice", "message__mailbox", "message__owner", "author")
    found = note.filter(pk=claim.key).first()
    if found is None:  # destroyed with its message
        jobs.fail(claim, clock(), "gone", permanent=True)
        return True
    if not _accepted(found.message.practice_id, load().fhir_url, clock()):
        jobs.postpone(claim, clock(), HELD, "not accepted")
        return True
    try:
        _send(store, found, claim, clock)
    except RecordsAway as error:
        if error.refused:
            jobs.postpone(claim, clock(), HELD, "the token was refused")
        else:
            _failed(found, claim, clock(), error, permanent=False)
    except (KeysAway, KeyUnavailable, StaleKeyring):
        jobs.postpone(claim, clock(), HELD, "the keys are away")
    except (RecordsRefused, SealError) as error:
        _failed(found, claim, clock(), error, permanent=True)
    else:
        log("records.sent", message=found.message_id)
        return True
    log("records.failed", message=found.message_id, attempts=claim.attempts)
    return True


def _send(store: Records, note: Note, claim: jobs.Claim, clock: Callable[[], datetime]) -> None:
    with transaction.atomic(durable=True):
        event = audit.record(
            note.message.practice_id, actor=ACTOR, action="records:send", now=clock(), message=note.message_id,
            detail={"note": note.id, "attempt": claim.attempts},
        )  # fmt: skip
    faults.point("records.audited")
    resources = _resources(note, Warrant(event))
    made = [store.create(one, fhir.search(one)) for one in resources]
    faults.point("records.sent")
    with transaction.atomic():
        if jobs.finish(claim, clock()):
            audit.record(
                note.message.practice_id, actor=ACTOR, action="records:kept", now=clock(), message=note.message_id,
                detail={"note": note.id, "made": [kept.made for kept in made]},
            )  # fmt: skip


def _resources(note: Note, warrant: Warrant) -> list[fhir.Resource]:
    """The message first: the note is about it. Opened as whoever signed it may see it."""
    actor = Actor(note.author, ACTOR, "", note.at)
    view = Opener(actor, warrant, note.message).view(heard_by_reader=True)
    text = next((one.text for one in view.signed or () if one.id == note.id), "")
    signed = phone_note.read(text)
    if signed is None:
        raise RecordsRefused("the note cannot be opened")
    url = load().url
    left = fhir.left_of(view)
    return [fhir.document(signed, left, url), fhir.communication(signed, note.id, url)]


def _failed(note: Note, claim: jobs.Claim, now: datetime, error: NightbellError, permanent: bool) -> None:
    with transaction.atomic():
        if jobs.fail(claim, now, error.why, permanent):
            audit.record(
                note.message.practice_id, actor=ACTOR, action="records:failed", now=now, outcome="failed",
                message=note.message_id, detail={"note": note.id},
            )  # fmt: skip
