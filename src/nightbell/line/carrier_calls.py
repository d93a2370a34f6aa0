"""A call by webhook, request by request: the practice's line run by the same machine, its state kept between two.

Each request names its turn, so that one that comes twice, late or out of order has no second effect: the turn moves on
by compare-and-set, and who repeats the last one gets the same document again.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from nightbell.core.carriers import Abilities, Pressed, Ring, Spoken
from nightbell.core.clock import iso, parse_iso
from nightbell.core.errors import NightbellError
from nightbell.core.ids import new_ulid
from nightbell.flow import provider
from nightbell.flow.machine import is_number
from nightbell.flow.model import CallConfig, Promise, Save, Told
from nightbell.flow.provider import Onward, Progress, Recording, Step
from nightbell.flow.stored import progress_from_dict, progress_to_dict
from nightbell.line import carrier_lines
from nightbell.line.carrier_lines import Found, line_of
from nightbell.line.carrier_models import CarrierCall, CarrierRecording, Kept, Stage
from nightbell.mailbox import rules, status
from nightbell.oncall import service as oncall
from nightbell.sealing.errors import KeyUnavailable, SealError
from nightbell.sealing.fields import Place, open_field, seal_field
from nightbell.store import vault

KEY = "carrier"  # kind of key in the keyring
LOOK = timedelta(minutes=2)  # of silence, after which the worker asks whether a call is still up
LOOSE = 99  # the take of a recording that was made without any state: the database or the keys were away
MOST_TAKES = 50
STATES = {
    "completed": Kept.COMPLETED,
    "absent": Kept.ABSENT,
    "failed": Kept.LOST,
}  # other words: not ready yet
UNTOLD = "other"  # a provider says that a call was forwarded, not why
HALF_MADE = timedelta(hours=1)  # so long a key may be there before its row
_TRIES = 4

Render = Callable[[tuple[Step, ...], int], str]
"""Writes a script as a document; the number is the turn that its addresses name."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is sealed of a call. caller: as the provider gave it; line: the entry in force when it was answered;
    answer: the last document."""

    caller: str
    found: Found
    can: Abilities
    answered: datetime
    progress: Progress
    answer: str = ""

    def config(self) -> CallConfig:
        """The rules of this call: they do not change while it lasts."""
        line = provider.adapted(line_of(self.found.entry), self.can)
        return line.config(callable_number(self.caller), self.answered)


def callable_number(caller: str) -> str:
    """Ten digits that can be called back, or ''."""
    digits = rules.digits(caller)
    return digits if is_number(digits) else ""


def digest(sid: str) -> str:
    """By what a call is found again, when its name is forgotten."""
    return hashlib.sha256(sid.encode()).hexdigest()


# What is sealed.


def _place(call_id: str) -> Place:
    return Place("line_carriercall", "sealed", call_id, call_id)


def seal(call_id: str, key: bytes, facts: Facts) -> bytes:
    body = {
        "caller": facts.caller,
        "found": asdict(facts.found),
        "can": asdict(facts.can),
        "answered": iso(facts.answered),
        "progress": progress_to_dict(facts.progress),
        "answer": facts.answer,
    }
    return seal_field(key, _place(call_id), json.dumps(body).encode())


def unseal(call: CarrierCall) -> Facts | None:
    """None for a call of which nothing is known here, or nothing that can be opened. Raises KeysAway."""
    if call.sealed is None:
        return None
    try:
        opened = open_field(key_of(call), _place(call.id), bytes(call.sealed))
    except SealError:
        return None  # its key is gone, or it was altered: the provider still knows who called
    body: dict[str, Any] = json.loads(opened)
    return Facts(
        caller=str(body["caller"]),
        found=Found(**body["found"]),
        can=Abilities(**body["can"]),
        answered=parse_iso(body["answered"]),
        progress=progress_from_dict(body["progress"]),
        answer=str(body["answer"]),
    )


def key_of(call: CarrierCall) -> bytes:
    try:
        return vault.keyring().get(call.id, KEY)
    except KeyUnavailable as error:
        raise vault.KeysAway("A call's state cannot be opened", error.why, "put the key file back") from error


def _columns(progress: Progress, now: datetime) -> dict[str, Any]:
    """What the row says in clear of a call that is so far."""
    columns: dict[str, Any] = {
        "seen_at": now, "takes": progress.takes, "urgent": progress.state.urgent, "due_at": now + LOOK,
    }  # fmt: skip
    if progress.over:
        columns |= _over(now)
    return columns


def _over(now: datetime) -> dict[str, Any]:
    """Columns of a call that is over: what went wrong before does not keep its recordings waiting."""
    return {"stage": Stage.ENDED, "ended_at": now, "due_at": now, "attempts": 0, "trouble": ""}


# Requests.


def begin(name: str, ring: Ring, can: Abilities, now: datetime, render: Render) -> str:
    """A call comes in: its first document; '' for one that was over long ago.

    Raises KeysAway, DatabaseError and the like: the caller must be given something all the same.
    """
    before = _row(name, ring.call)
    if before is not None:
        return _again(before, 0)
    found = carrier_lines.find(ring)
    facts = Facts(ring.caller, found, can, now, Progress())
    call_id, key = new_ulid(), secrets.token_bytes(32)
    facts = _advance(
        facts, lambda config, _: _arrived(provider.answered(config), ring, found), render, 1, now
    )
    columns = _columns(facts.progress, now) | {"sealed": seal(call_id, key, facts)}
    vault.keyring().put(call_id, KEY, key)
    try:
        with transaction.atomic():
            CarrierCall.objects.create(
                id=call_id, provider=name, digest=digest(ring.call), sid=ring.call[:200], capture=new_ulid(),
                later=new_ulid(), turn=1, answered_at=now, **columns,
            )  # fmt: skip
    except Exception as error:
        vault.keyring().destroy(call_id)
        if not isinstance(error, IntegrityError):
            raise
        winner = _row(name, ring.call)  # the same request at the same moment
        return _again(winner, 0) if winner is not None else ""
    return facts.answer


def _arrived(here: Progress, ring: Ring, found: Found) -> Progress:
    """With what the way here tells of the call, as on the phone."""
    marks = [(0, f"attest:{ring.attest}")] if ring.attest else []
    if ring.first and found.dialled == ring.first:
        marks.append((0, f"diverted:{UNTOLD}"))
    if found.entry.get("test"):
        marks.append((0, "test"))  # a draft that is tried wakes nobody
    return replace(here, marks=(*marks, *here.marks))


def follow(
    name: str, sid: str, turn: int, at: int, outcome: Pressed | Spoken, now: datetime, render: Render
) -> str:
    """What the caller did at a step of the last document: the next one. '' for a turn that is long over.

    Raises NoSuchCall, KeysAway, DatabaseError and the like.
    """
    for _ in range(_TRIES):
        call = _known(name, sid)
        if call.turn != turn or call.stage != Stage.OPEN:
            return _again(call, turn)
        facts = unseal(call)
        if facts is None:
            raise NoSuchCall("A carrier's request", "nothing is known of its call")

        def onward(config: CallConfig, here: Progress, facts: Facts = facts) -> Progress:
            return _outcome(config, here, at, outcome, facts, now)

        facts = _advance(facts, onward, render, turn + 1, now)
        if _move(call, facts, now):
            return facts.answer
    return ""


def over(name: str, sid: str, lasted: int | None, now: datetime) -> None:
    """Nobody is on the line any more. lasted: milliseconds, if they were told. Idempotent."""
    for _ in range(_TRIES):
        call = _row(name, sid)
        if call is None or call.stage != Stage.OPEN:
            return
        if finish(call, lasted, now):
            return


def finish(call: CarrierCall, lasted: int | None, now: datetime) -> bool:
    """End an open call that its caller has left. False: it moved on meanwhile. Raises as `unseal`."""
    facts = unseal(call)
    if facts is None:
        still = CarrierCall.objects.filter(pk=call.pk, turn=call.turn, stage=Stage.OPEN)
        return still.update(**_over(now)) == 1
    promise = _promised(facts, now)
    gone = provider.hung_up(facts.config(), facts.progress, lasted, promise)
    return _move(call, replace(facts, progress=gone), now)


def recording(name: str, sid: str, take: int, recording_sid: str, state: str, now: datetime) -> None:
    """The provider tells of a recording: in any order, more than once, and of a call that we never heard of."""
    told = STATES.get(state, Kept.WAITING)
    with transaction.atomic():
        call = _row(name, sid) or _loose(name, sid, now)
        if call.stage in (Stage.SPOOLED, Stage.DONE) or not (take < MOST_TAKES or take == LOOSE):
            return
        row, _ = CarrierRecording.objects.get_or_create(call=call, take=take)
        undecided = CarrierRecording.objects.filter(pk=row.pk, status__in=[Kept.WAITING, Kept.ABSENT])
        undecided.update(
            status=told if told != Kept.WAITING else row.status, sid=recording_sid[:80] or row.sid
        )
        if told != Kept.WAITING and call.stage == Stage.ENDED:
            CarrierCall.objects.filter(pk=call.pk).update(due_at=now)


def _loose(name: str, sid: str, now: datetime) -> CarrierCall:
    """A call whose beginning could not be stored. What is known of it is asked of the provider later."""
    made, _ = CarrierCall.objects.get_or_create(
        provider=name, digest=digest(sid),
        defaults={
            "sid": sid[:200], "capture": new_ulid(), "later": new_ulid(), "answered_at": now, "seen_at": now,
            "due_at": now + LOOK,
        },
    )  # fmt: skip
    return made


def sweep_keys(now: datetime) -> int:
    """Destroy keys of calls that no row is of: a process died between the two. How many there were."""
    before = new_ulid(int((now - HALF_MADE).timestamp() * 1000))[:10]  # its first ten letters are the time
    ids = {one for one in vault.keyring().ids(KEY) if one[:10] < before}
    orphans = ids - set(CarrierCall.objects.filter(sealed__isnull=False).values_list("id", flat=True))
    return sum(vault.keyring().destroy(one) for one in sorted(orphans))


# One turn.


class NoSuchCall(NightbellError):
    """A request about a call that we do not know."""


def _row(name: str, sid: str) -> CarrierCall | None:
    return CarrierCall.objects.filter(provider=name, digest=digest(sid)).first()


def _known(name: str, sid: str) -> CarrierCall:
    call = _row(name, sid)
    if call is None or (call.sealed is None and call.stage == Stage.OPEN):
        raise NoSuchCall("A carrier's request", "it is about a call that we do not know")
    return call


def _again(call: CarrierCall, turn: int) -> str:
    """The document that this turn was answered with, if it was the last one."""
    facts = unseal(call) if call.turn == turn + 1 else None
    return facts.answer if facts is not None else ""


def _move(call: CarrierCall, facts: Facts, now: datetime) -> bool:
    """Store a turn, unless another was faster."""
    columns = _columns(facts.progress, now) | {
        "sealed": seal(call.id, key_of(call), facts),
        "turn": call.turn + 1,
    }
    return CarrierCall.objects.filter(pk=call.pk, turn=call.turn, stage=Stage.OPEN).update(**columns) == 1


def _advance(
    facts: Facts, go: Callable[[CallConfig, Progress], Progress], render: Render, turn: int, now: datetime
) -> Facts:
    config, promise = facts.config(), _promised(facts, now)
    here = go(config, facts.progress)
    script = provider.script(config, here, promise)
    return replace(facts, progress=script.after, answer=render(script.steps, turn))


def _outcome(
    config: CallConfig, here: Progress, at: int, outcome: Pressed | Spoken, facts: Facts, now: datetime
) -> Progress:
    """Where the call is after a step. An unknown step is answered with the same words again."""
    promise = _promised(facts, now)
    # Walked again from where it began: no step that can be left lies behind the end.
    script = provider.script(config, here, promise)
    taken = next((one for one in script.steps if getattr(one, "at", None) == at), None)
    if taken is None:
        return here
    place = script.places[at]
    if isinstance(taken, Recording):
        return provider.spoken(config, place, outcome if isinstance(outcome, Spoken) else Spoken(), promise)
    if isinstance(taken, Onward):
        if place.asking is None:
            return place
        return provider.told(config, place, _status(facts, place.asking, now), promise)
    return provider.pressed(config, place, outcome if isinstance(outcome, Pressed) else Pressed(), promise)


def _promised(facts: Facts, now: datetime) -> provider.Promised:
    """What may be said at this moment, by the lines of this moment, and the mark of it for the capture."""

    def promise(save: Save) -> tuple[Promise, str]:
        line = line_of(_entry_now(facts.found))
        said, until = line.promise_at(save.urgent, now, carrier_lines.worker_age())
        clip = said.urgent or said.routine
        mark = (
            f"promise:{clip}:{iso(until) if until else '-'}" if save.promised and clip and line.number else ""
        )
        return said, mark

    return promise


def _entry_now(found: Found) -> Mapping[str, Any]:
    fresh = carrier_lines.find(Ring("", called=found.dialled))
    return fresh.entry if fresh.practice == found.practice else found.entry


def _status(facts: Facts, number: str, now: datetime) -> Told:
    """How far a message is. Whatever is wrong, the caller is told what a stranger is told."""
    try:
        answer = status.ask(facts.found.practice, number, facts.caller, now, oncall.rings)
    except Exception:
        return Told(status.NONE.state)
    return Told(answer.state, answer.at, answer.ref)
