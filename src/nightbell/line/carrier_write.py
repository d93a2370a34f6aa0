"""A call by webhook into the spool, with its sound or without: as much of it as is known, and never nothing."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from nightbell.core import durable
from nightbell.core.capture import EndReason
from nightbell.core.carriers import CallFacts, Carrier, NotThere, Ring
from nightbell.flow.provider import Progress
from nightbell.line import carrier_calls, carrier_capture, carrier_lines
from nightbell.line.carrier_models import CarrierCall
from nightbell.mailbox import epochs
from nightbell.mailbox.models import Message
from nightbell.sealing import spool
from nightbell.store import vault

Marks = tuple[tuple[int, str], ...]
UNFETCHED = (0, "unfetched")
LOCK = threading.Lock()  # a stand-in and the sound of one call must not be written at the same moment


def write(
    call: CarrierCall,
    capture_id: str,
    sounds: Mapping[int, bytes],
    marks: Marks,
    told: CallFacts | None,
    folder: Path,
) -> None:
    """Seal a capture into the spool, whole or not at all. One that is a message already is left alone.

    told: what the provider says of the call, for one whose state is lost here. Raises KeysAway, OSError.
    """
    if Message.objects.filter(pk=capture_id).exists():
        return
    epoch = epochs.current()
    if epoch is None:
        raise vault.KeysAway("A recording cannot be sealed", "there is no epoch", "run: nightbell migrate")
    known = _known(call, capture_id, sounds, marks)
    capture = carrier_capture.compose(known or _unknown(call, capture_id, sounds, marks, told))
    durable.write_file(folder / (capture_id + spool.CAP), carrier_capture.sealed(capture, epoch))


def asked(call: CarrierCall, carrier: Carrier) -> CallFacts | None:
    """What the provider remembers of a call whose state is lost here; None when it need not be asked, or knows nothing.

    Not to be called under the lock: it may take minutes. Raises KeysAway, CarrierAway.
    """
    if not call.sid or _known(call, call.capture, {}, ()) is not None:
        return None
    try:
        return carrier.facts(call.sid)
    except NotThere:
        return None


def _known(
    call: CarrierCall, capture_id: str, sounds: Mapping[int, bytes], marks: Marks
) -> carrier_capture.Call | None:
    """By the call's own state; None when it is lost or cannot be read: people must hear of the call all the same."""
    try:
        facts = carrier_calls.unseal(call)
        if facts is None:
            return None
        here, found = facts.progress, facts.found
        return carrier_capture.Call(
            capture=capture_id, practice=found.practice, mailbox=found.mailbox, dialled=found.dialled,
            caller=facts.caller, answered=facts.answered, language=facts.config().languages[0],
            snapshot=found.snapshot, flow=int(found.entry.get("flow", 0)), marks=(*marks, *here.marks),
            keys=here.keys, ended=_end(here), sounds=sounds,
        )  # fmt: skip
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def _end(here: Progress) -> tuple[int, EndReason]:
    return here.ended or (here.now, EndReason.INTERRUPTED)


def _unknown(
    call: CarrierCall, capture_id: str, sounds: Mapping[int, bytes], marks: Marks, told: CallFacts | None
) -> carrier_capture.Call:
    """A call of which nothing could be stored, by what the provider remembers of it and the row says in clear."""
    told = told or CallFacts(True, Ring(call.sid))
    urgent = ((0, "urgent"),) if call.urgent else ()  # a column in clear: it was pressed
    found = carrier_lines.find(told.ring)
    practice, mailbox = (found.practice, found.mailbox) if found.practice else _as_before(call)
    return carrier_capture.Call(
        capture=capture_id, practice=practice, mailbox=mailbox, dialled=found.dialled, caller=told.ring.caller,
        answered=told.began or call.answered_at, language="en", snapshot=found.snapshot, flow=0,
        marks=(*marks, (0, "short"), *urgent), keys=(), ended=(0, EndReason.HANG_UP), sounds=sounds,
    )  # fmt: skip


def _as_before(call: CarrierCall) -> tuple[str, str]:
    """Where the call's first message went; ('', ''), which is the unrouted tray, when there is none."""
    first = Message.objects.filter(pk=call.capture).values_list("practice_id", "mailbox_id").first()
    return (str(first[0]), str(first[1] or "")) if first else ("", "")
