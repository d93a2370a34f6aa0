"""Whether call backs may be recorded: a decision of the practice, on record, with its reason and its end. Default: never.

Whatever was decided, each call is recorded only if its patient agrees in that call (dialogue_connect): all-party consent, which
satisfies the law of every state. So there is no table of states here that could be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from nightbell.oncall import voice
from nightbell.people import risks
from nightbell.people.access import Actor, demand, write
from nightbell.people.installation import By
from nightbell.people.models import RiskAcceptance
from nightbell.people.roles import Act


@dataclass(frozen=True, slots=True)
class RecordingView:
    """How it stands with a practice. asked: patients are asked now; decided: what is on record, perhaps run out."""

    asked: bool
    decided: RiskAcceptance | None


def stands(actor: Actor) -> RecordingView:
    """For everybody who sees how the practice is on call."""
    demand(actor, Act.SCHEDULE)
    decided = risks.on_record(voice.RECORDING).get(actor.practice)
    return RecordingView(voice.may_record(actor.practice, actor.now), decided)


def allow(actor: Actor, reason: str, until: datetime) -> None:
    """Put on record that patients are asked from now on, and recorded who agree. Raises BadRisk, Forbidden."""
    demand(actor, Act.EDIT_SCHEDULE)
    about = f"call backs of {actor.user.practice.code} are recorded where the patient agrees in the call"
    with transaction.atomic():
        made = risks.accept(_by(actor), voice.RECORDING, actor.practice, about, reason, until, "")
        write(actor, "callback:record_allow", detail={"risk": made.id})


def withdraw(actor: Actor) -> None:
    """From now on nobody is asked, and nothing is recorded. Raises NotFound, Forbidden."""
    demand(actor, Act.EDIT_SCHEDULE)
    with transaction.atomic():
        risks.withdraw(_by(actor), voice.RECORDING, actor.practice)
        write(actor, "callback:record_withdraw")


def _by(actor: Actor) -> By:
    return By(actor.name, actor.now, actor.source, actor.user)
