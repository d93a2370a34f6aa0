"""From the phone's sealed capture to a message under its own key: exactly once, whatever is killed when.

The order is the proof (DESIGN decision 2): blob, keyring entry, database row, then the capture goes.
The capture's id is the message's id, so a second run finds the row and only tidies up; a run that
died before the row starts anew under a new key and overwrites what the dead one left.

Several captures may take these steps together, each step of all before the next step of any: what a disk and a database
ask for it is then asked once. One that cannot be opened or stored is set aside with its error, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from django.db import OperationalError, transaction
from django.db.models import Q

from nightbell.audit import service as audit
from nightbell.core import durable, faults
from nightbell.core.sound import Unpacker
from nightbell.mailbox import intake_opening, joining, third, undecoded
from nightbell.mailbox.describe import seal_columns
from nightbell.mailbox.intake_opening import ACTOR, Ready, Round, Taken, Talked, Unpackers
from nightbell.mailbox.models import Message, Words
from nightbell.sealing import spool
from nightbell.sealing.errors import Busy, KeyUnavailable
from nightbell.store import jobs, vault

__all__ = ["ACTOR", "EVERYBODYS", "LATER", "Problems", "Taken", "take_in", "take_in_all"]

LATER = "transcribe-imported"  # thousands of them may wait, and none of tonight's calls behind them
EVERYBODYS = (OperationalError, vault.KeysAway)  # the same for all captures, whatever is in them
WRITERS = 4  # files that are made durable at the same time: a disk does several for the price of one

Problems = dict[Path, Exception]


def take_in(
    path: Path, now: datetime, unpacker: Unpacker | None = None, quick: Unpacker | None = None
) -> Taken | None:
    """Turn one capture file into a message. None when another process holds it or it is gone.

    unpacker: decodes G.722 and Opus; without one, or when it fails, their payloads are kept for `undecoded`. quick: the
    same for an urgent call, whose alert does not wait long for it.
    Raises KeysAway (leave everything as it is, try later) or AuditClosed/DatabaseError (try later).
    """
    problems: Problems = {}
    taken = take_in_all([path], now, problems, unpacker, quick)
    for problem in problems.values():
        raise problem
    return taken[0] if taken else None


def take_in_all(
    paths: Sequence[Path],
    now: datetime,
    problems: Problems,
    unpacker: Unpacker | None = None,
    quick: Unpacker | None = None,
) -> list[Taken]:
    """As `take_in`, for several together. problems: gets the error of each that could not be taken in, and is to be
    tried again later. Returns what became of the others; those that somebody else holds are left out."""
    taken: list[Taken] = []
    talked: list[Talked] = []
    with ExitStack() as claims:
        mine = [path for path in paths if _claim(path, claims, problems)]
        opened = _opened(mine, Unpackers(unpacker, quick or unpacker), now, problems)
        kept = _with_blobs(opened, taken, talked, problems)
        faults.point("intake.blob")
        for group in _groups(kept):
            taken += _store(group, now, problems)
        for one in talked:  # nobody waits for them: after all messages
            try:
                taken.append(intake_opening.take_talk(one, now))
            except Exception as error:
                problems[one.path] = error
    return taken


def _claim(path: Path, claims: ExitStack, problems: Problems) -> bool:
    try:
        claims.enter_context(spool.claimed(path))
    except (Busy, FileNotFoundError):
        return False
    except OSError as error:
        problems[path] = error
        return False
    return True


def _opened(
    paths: Sequence[Path], unpackers: Unpackers, now: datetime, problems: Problems
) -> Iterator[Ready | Talked | Taken]:
    """Each that can be opened, with what came of it."""
    shared = Round([path.stem for path in paths])
    for path in paths:
        try:
            yield intake_opening.opened(path, shared, unpackers, now)
        except FileNotFoundError:
            continue
        except Exception as error:
            problems[path] = error
            if isinstance(error, EVERYBODYS):
                break  # it would be the same for the others


def _with_blobs(
    opened: Iterable[Ready | Talked | Taken], taken: list[Taken], talked: list[Talked], problems: Problems
) -> list[Ready]:
    """Those whose sound is durable under its key. Each is written while the next one is opened."""
    ready: dict[str, Ready] = {}
    writing: list[tuple[Ready, Future[None]]] = []
    with ThreadPoolExecutor(WRITERS, "intake") as pool:
        for one in opened:
            if isinstance(one, Taken):
                taken.append(one)
            elif isinstance(one, Talked):
                talked.append(one)
            elif one.message.id not in ready:  # another file of the same call finds it stored, next time
                ready[one.message.id] = one
                writing.append((one, pool.submit(_put_blob, one)))
    for one, done in writing:
        error = done.exception()
        if isinstance(error, Exception):
            problems[one.path] = error
            del ready[one.message.id]
    return list(ready.values())


def _groups(ready: Sequence[Ready]) -> Iterator[list[Ready]]:
    """Those that change nothing but themselves together; then each that changes another message, alone."""
    apart = [one for one in ready if one.said.joins]
    together = [one for one in ready if not one.said.joins]
    if together:
        yield together
    for one in apart:
        yield [one]


def _store(group: Sequence[Ready], now: datetime, problems: Problems) -> list[Taken]:
    """After the blobs the keys, then the rows. Then the captures go."""
    kept = _put_keys(group, problems)
    faults.point("intake.key")
    kept = _each(kept, _seal, problems)
    stored = _insert_each(kept, now, problems)
    faults.point("intake.stored")
    try:
        durable.remove_files([one.path for one, _ in stored])
    except OSError as error:  # they are messages, and what rings for them does not wait
        problems |= {one.path: error for one, _ in stored}
    for one, _ in stored:
        third.remember(one.message, one.capture.meta.caller)
    return [
        Taken(one.message.id, "stored", rings or others > 0, rings)
        for one, others in stored
        for rings in [one.message.urgency == "urgent"]
    ]


def _each(group: Sequence[Ready], step: Callable[[Ready], None], problems: Problems) -> list[Ready]:
    """Take a step with each. Returns those with whom it went well."""
    kept = []
    for one in group:
        try:
            step(one)
            kept.append(one)
        except Exception as error:
            problems[one.path] = error
    return kept


def _put_blob(one: Ready) -> None:
    if one.heard.laid.length:
        message = one.message
        blob, message.wav_bytes = intake_opening.playback_object(one.key, message, one.heard)
        vault.blobs().put(message.practice_id, message.id, blob)
        message.audio_bytes = len(blob)


def _put_keys(group: Sequence[Ready], problems: Problems) -> list[Ready]:
    try:
        vault.keyring().put_all({one.message.id: one.key for one in group}, "message")
        return list(group)
    except KeyUnavailable as error:
        problems |= {one.path: error for one in group}
        return []
    except Exception:  # an id that no message may have, say: whose it is comes out when each is alone
        return _each(group, _put_key, problems)


def _put_key(one: Ready) -> None:
    vault.keyring().put(one.message.id, "message", one.key)


def _seal(one: Ready) -> None:
    seal_columns(one.message, one.key, one.capture, one.said, one.heard)


def _insert_each(group: Sequence[Ready], now: datetime, problems: Problems) -> list[tuple[Ready, int]]:
    """The rows, in one transaction; if that fails, each in one of its own, so that a bad one costs no other its turn.

    Returns those that are stored, each with how many stored before ring for it.
    """
    if not group:
        return []
    try:
        return list(zip(group, _insert_all(group, now), strict=True))
    except Exception as error:
        if len(group) == 1 or isinstance(error, EVERYBODYS):
            problems |= {one.path: error for one in group}
            return []
    stored = []
    for one in group:
        stored += _insert_each([one], now, problems)
    return stored


def _insert_all(group: Sequence[Ready], now: datetime) -> list[int]:
    thirds = third.thirds([(one.message, one.caller) for one in group])
    with transaction.atomic():
        others = _insert(group, thirds, now)
        faults.point("intake.uncommitted")
    return others


def _insert(group: Sequence[Ready], thirds: Mapping[str, set[str]], now: datetime) -> list[int]:
    """The rows, and what they do to others. Returns for each how many stored before ring for it."""
    _hold(group, thirds)
    firsts = {one.message.id: _joined(one) for one in group if one.said.joins and not one.said.test}
    for one in group:
        if one.message.id in thirds[one.message.id] and third.TAG not in one.message.tags:
            third.mark(one.message)
    Message.objects.bulk_create([one.message for one in group])
    jobs.enqueue_all(_jobs(group), now)
    for practice in sorted({one.message.practice_id for one in group}):
        mine = [one for one in group if one.message.practice_id == practice]
        audit.record_all(practice, [_received(one, thirds) for one in mine], now)
    for one in group:
        first = firsts.get(one.message.id)
        if first is not None:
            joining.worsen(first, one.message, now)
    return [third.mark_stored(thirds[one.message.id] - {one.message.id}, now) for one in group]


def _hold(group: Sequence[Ready], thirds: Mapping[str, set[str]]) -> None:
    """Lock what these change of others before the log: messages first, by their ids, as everybody does."""
    stored = set().union(*thirds.values()) - {one.message.id for one in group}
    joins = [one.said.joins for one in group if one.said.joins and not one.said.test]
    rows = Message.objects.filter(pk__in=joins).values_list("pk", "joins_id") if joins else ()
    roots = [first or pk for pk, first in rows]
    if stored or roots:
        held = Message.objects.filter(Q(pk__in=[*stored, *roots]) | Q(joins_id__in=roots)).order_by("pk")
        list(held.select_for_update().values_list("pk", flat=True))


def _joined(one: Ready) -> Message | None:
    """The message that this one says got worse. Whatever it is, this one is marked; locked until the transaction ends."""
    message = one.message
    first = joining.first_of(message.practice_id, one.said.joins)
    if "worse" not in message.tags:
        message.tags = [*message.tags, "worse"]
    if first is not None:
        message.joins, message.needs_alert = first, False
    return first


def _jobs(group: Iterable[Ready]) -> Iterator[tuple[str, str]]:
    for one in group:
        if one.message.words == Words.PENDING:
            yield (LATER if one.said.imported else "transcribe", one.message.id)
        if undecoded.TAG in one.message.tags:
            yield undecoded.JOB, one.message.id
        if one.said.studio and one.said.keep:
            yield "studio", one.message.id  # line.takeup makes a clip of it


def _received(one: Ready, thirds: Mapping[str, set[str]]) -> audit.Entry:
    message = one.message
    detail = {"kind": message.kind, "urgency": message.urgency, "end": message.end_reason,
              "seconds": round(message.duration_ms / 1000), "mailbox": message.mailbox_id or "",
              "joins": message.joins_id or "", "third": message.id in thirds[message.id]}  # fmt: skip
    return audit.Entry(ACTOR, "message:received", message.id, detail=detail)
