"""Reading messages and changing who has them. Every read is audited first; every change in its own transaction."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction
from django.db.models import Case, Count, Exists, IntegerField, Max, OuterRef, Q, QuerySet, Value, When

from nightbell.audit import service as audit
from nightbell.core.ids import is_ulid, new_ulid
from nightbell.core.phi import Warrant
from nightbell.core.typed import clean, has_control
from nightbell.mailbox import secrets as sealed
from nightbell.mailbox.errors import BadText, NotNow
from nightbell.mailbox.joining import together
from nightbell.mailbox.models import (
    SETTLED,
    Hearing,
    Message,
    Note,
    NoteKind,
    Outcome,
    Shown,
    State,
    Urgency,
    Words,
)
from nightbell.mailbox.opening import Opener, kinds_of_reasons, person
from nightbell.mailbox.values import Mark, MessageView, Page, Person
from nightbell.people.access import Actor, NotFound, demand, reveal, write
from nightbell.people.models import User
from nightbell.people.roles import Act
from nightbell.store import jobs, vault

MAX_NOTE = 4000
VIEWS = ("open", "mine", "done", "unrouted", "new", "acknowledged", "closed")


@dataclass(frozen=True, slots=True)
class Taken:
    """Who has the message now. mine False: a colleague was first."""

    owner: Person
    at: datetime
    mine: bool


def missing() -> NotFound:
    return NotFound(
        "There is no such message", "it does not exist, or it is not your practice's", "go to the inbox"
    )


def _visible(actor: Actor) -> QuerySet[Message]:
    """Messages that exist for this person. The one place that says so."""
    found = Message.objects.filter(practice_id=actor.practice).exclude(state=State.DISPOSED)
    if actor.covers:
        told = Shown.objects.filter(user=actor.user).values("message_id")
        found = found.filter(Q(pk__in=told) | Q(joins_id__in=told))
    return found if actor.may(Act.UNROUTED) else found.exclude(mailbox=None)


def find(actor: Actor, message_id: str, act: Act) -> Message:
    """From an id to a message, or NotFound (with a row in the log when the role may do such things at all)."""
    demand(actor, act, message_id if is_ulid(message_id) else "")
    message = None
    if is_ulid(message_id):
        message = _visible(actor).select_related("mailbox", "owner", "practice").filter(pk=message_id).first()
    if message is None:
        write(actor, act, message=message_id if is_ulid(message_id) else "", outcome="not_found")
        raise missing()
    return message


def _in_view(actor: Actor, view: str, mailbox: str) -> QuerySet[Message]:
    """An addition ("it got worse") has no line of its own: it stands under the message that it joins."""
    found = _visible(actor).filter(joins=None)
    if view in ("done", "closed"):
        found = found.filter(state=State.CLOSED)
    elif view in ("new", "acknowledged"):
        found = found.filter(state=view)
    else:
        found = found.exclude(state=State.CLOSED)
    if view == "mine":
        found = found.filter(owner=actor.user)
    if view == "unrouted":
        found = found.filter(mailbox=None)
    return found.filter(mailbox_id=mailbox) if mailbox else found


def _ordered(found: QuerySet[Message], view: str, since: datetime) -> list[Mark]:
    """Urgent and unowned, urgent, then broken promises that nobody has, what nobody has heard, and the rest; oldest
    first. Done: newest first.

    `since`: when the reader began to page. Who took or heard a message after that does not move it, or it would
    come twice or never to a reader between two pages. (One given back or found urgent meanwhile does move: it rings.)
    """
    if view in ("done", "closed"):
        done = found.order_by("-received_at", "-id").values_list("received_at", "id")
        return [Mark(since, 0, at, pk) for at, pk in done]
    unowned = Q(state=State.NEW) | Q(owned_at__gt=since)
    heard = Exists(Hearing.objects.filter(message=OuterRef("pk"), first_at__lte=since))
    rank = Case(
        When(Q(urgency=Urgency.URGENT) & unowned, then=Value(0)),
        When(urgency=Urgency.URGENT, then=Value(1)),
        When(unowned & Q(late_at__lte=since), then=Value(2)),
        When(unowned & ~Q(heard), then=Value(3)),
        default=Value(4),
        output_field=IntegerField(),
    )
    ranked = found.annotate(heard=heard, rank=rank).order_by("rank", "received_at", "id")
    return [Mark(since, *row) for row in ranked.values_list("rank", "received_at", "id")]


def _following(ordered: list[Mark], after: Mark | None, view: str) -> int:
    """Where the page behind a cursor begins. The message that the cursor names need not be there any more."""
    if after is None:
        return 0
    if view in ("done", "closed"):
        passed = ((m.received_at, m.id) >= (after.received_at, after.id) for m in ordered)
    else:
        passed = ((m.rank, m.received_at, m.id) <= (after.rank, after.received_at, after.id) for m in ordered)
    return sum(passed)


def inbox(actor: Actor, view: str = "open", mailbox: str = "", cursor: str = "", limit: int = 100) -> Page:
    """One page of the inbox. One audit row names all its items. Raises ValueError for a bad view or cursor."""
    if view not in VIEWS:
        raise ValueError("view")
    after = Mark.read(cursor) if cursor else None
    demand(actor, Act.UNROUTED if view == "unrouted" else Act.LIST)
    marks = _ordered(_in_view(actor, view, mailbox), view, after.since if after else actor.now)
    start = _following(marks, after, view)
    ordered = [mark.id for mark in marks]
    chosen = ordered[start : start + limit]
    vault.require_keys()
    heard = _heard(actor, ordered)
    worse = _worse(chosen)

    def open_rows(warrant: Warrant) -> Page:
        loaded = Message.objects.select_related("mailbox", "owner").in_bulk(chosen)
        rows = tuple(
            Opener(actor, warrant, loaded[i], worse.get(i)).row(i in heard) for i in chosen if i in loaded
        )
        return Page(
            rows,
            str(marks[start + limit - 1]) if start + limit < len(ordered) else None,
            len(ordered),
            sum(i not in heard for i in ordered),
        )

    return reveal(actor, Act.LIST, open_rows, detail={"items": chosen, "view": view})


def _heard(actor: Actor, ids: list[str]) -> set[str]:
    """Which of these the reader has heard, with all that was said later."""
    mine = Hearing.objects.filter(user=actor.user)
    heard = set(mine.filter(message_id__in=ids).values_list("message_id", flat=True))
    later = Message.objects.filter(joins_id__in=heard).exclude(Q(state=State.DISPOSED) | Q(wav_bytes=0))
    unheard = later.exclude(Exists(mine.filter(message=OuterRef("pk"))))
    return heard - {str(pk) for pk in unheard.values_list("joins_id", flat=True)}


def _worse(ids: list[str]) -> dict[str, datetime]:
    """When the last addition to each of these came."""
    later = Message.objects.filter(joins_id__in=ids).exclude(state=State.DISPOSED)
    return {str(pk): at for pk, at in later.order_by("received_at").values_list("joins_id", "received_at")}


def message(actor: Actor, message_id: str) -> MessageView:
    """One message, as far as the role sees it, with its additions. One audit row each."""
    found = find(actor, message_id, Act.VIEW)
    view = _opened(actor, found, _worse([found.id]).get(found.id))
    later = found.additions.exclude(state=State.DISPOSED).select_related("mailbox", "owner", "practice")
    additions = tuple(_opened(actor, one) for one in later.order_by("received_at", "id"))
    return replace(view, additions=additions)


def _opened(actor: Actor, found: Message, worse_at: datetime | None = None) -> MessageView:
    if found.joins_id is None:
        vault.message_key(found.id)  # fails before the log claims that something was shown
    heard = bool(_heard(actor, [found.id]))
    return reveal(actor, Act.VIEW, lambda w: Opener(actor, w, found, worse_at).view(heard), message=found.id)


def _first(actor: Actor, message_id: str, act: Act) -> Message:
    """As `find`; for an addition the message that it joins, for they are worked on as one."""
    found = find(actor, message_id, act)
    return find(actor, found.joins_id, act) if found.joins_id else found


def acknowledge(actor: Actor, message_id: str) -> Taken:
    """Take a message: from now on this person owns it. Compare-and-set; the second one learns who was first."""
    found = _first(actor, message_id, Act.TAKE)
    with transaction.atomic():
        won = Message.objects.filter(pk=found.pk, state=State.NEW).update(**_taken(actor))
        if won:
            found.additions.filter(state=State.NEW).update(**_taken(actor))
            write(actor, Act.TAKE, message=found.id)
    if not won:
        found = Message.objects.select_related("owner").get(pk=found.pk)
        if found.owner_id != actor.user.id:
            write(actor, Act.TAKE, message=found.id, outcome="beaten")
    if found.state == State.CLOSED and not won:
        raise NotNow("This message is closed", "somebody finished it", "reopen it first")
    owner = actor.user if won else found.owner
    if owner is None:
        raise NotNow("This message cannot be taken", f"it is {found.state}", "reload the page")
    return Taken(person(owner), actor.now if won else found.owned_at or actor.now, owner == actor.user)


def _taken(actor: Actor) -> dict[str, object]:
    return {"state": State.OWNED, "owner": actor.user, "owned_at": actor.now, "needs_alert": False}


def note(actor: Actor, message_id: str, text: str) -> None:
    """Add a note, sealed under the message's key. Raises BadText."""
    text = clean(text)
    if has_control(text):
        raise BadText("The note was not kept", "it holds a control character", "type it anew")
    if not text or len(text) > MAX_NOTE:
        raise BadText("The note was not kept", f"a note has 1 to {MAX_NOTE} characters", "shorten or fill it")
    keep_note(actor, message_id, text)


def keep_note(actor: Actor, message_id: str, text: str, kind: NoteKind = NoteKind.NOTE) -> str:
    """Seal a text that was checked. Returns the note's id."""
    found = _first(actor, message_id, Act.NOTE)
    key, note_id = vault.message_key(found.id), new_ulid()
    where = sealed.place("text", note_id, found.practice_id, sealed.NOTES)
    with transaction.atomic():
        Note.objects.create(
            id=note_id,
            kind=kind,
            message=found,
            author=actor.user,
            at=actor.now,
            text_sealed=sealed.seal_text(key, where, text),
        )
        write(actor, Act.NOTE, message=found.id, detail={"note": note_id, "kind": kind.value})
    return note_id


def close(actor: Actor, message_id: str, outcome: str, seen: Collection[str] | None = None) -> None:
    """Finish a message with what happened with the patient: one of SETTLED. Raises BadText or NotNow.

    seen: ids of the additions that the closer was shown; None where that is not known. What came later and the
    closer has not heard must not be closed with the rest: nobody would ever hear of it.
    """
    found = _first(actor, message_id, Act.CLOSE)
    if outcome not in SETTLED:
        why = "the patient still waits" if outcome in Outcome.values else f"{outcome[:20]!r} is no outcome"
        raise BadText("The message was not closed", why, "use one of: " + ", ".join(sorted(SETTLED)))
    with transaction.atomic():
        _nothing_new(actor, Message.objects.select_for_update().get(pk=found.pk), seen)
        now_closed = {
            "state": State.CLOSED,
            "outcome": outcome,
            "closed_at": actor.now,
            "closed_by": actor.user,
        }
        open_ones = together(found.id).filter(state__in=[State.NEW, State.OWNED])
        # An urgent message that nobody owned becomes its closer's: it must not close unowned.
        open_ones.filter(owner=None).update(owner=actor.user, owned_at=actor.now, needs_alert=False)
        if not open_ones.filter(pk=found.pk).update(**now_closed):
            raise NotNow("This message is already closed", "somebody finished it before", "reload the page")
        open_ones.update(**now_closed)
        write(actor, Act.CLOSE, message=found.id, detail={"outcome": outcome})


def tried(actor: Actor, message_id: str, outcome: str) -> str:
    """Somebody tried to reach the patient, in vain: it stays with its owner, or becomes the caller's. In the
    transaction that records the try, see oncall.outcomes. Returns the owner's id. Raises BadText or NotNow."""
    found = _first(actor, message_id, Act.CLOSE)
    if outcome not in set(Outcome.values) - SETTLED:
        raise BadText("Nothing was noted", f"{outcome[:20]!r} is no such outcome", "choose one of the list")
    with transaction.atomic():
        row = Message.objects.select_for_update().get(pk=found.pk)
        if row.state not in (State.NEW, State.OWNED):
            raise NotNow("This message is closed", "somebody finished it", "reopen it first")
        if row.state == State.NEW:
            together(row.id).filter(state=State.NEW).update(**_taken(actor))
            write(actor, Act.TAKE, message=row.id)
        Message.objects.filter(pk=row.pk).update(outcome=outcome, tried_at=actor.now)
    return row.owner_id or actor.user.id


def _nothing_new(actor: Actor, first: Message, seen: Collection[str] | None) -> None:
    """Raises NotNow when it got worse and the closer cannot know. In the transaction that locks `first`."""
    heard = Exists(Hearing.objects.filter(message=OuterRef("pk"), user=actor.user))
    unheard = first.additions.filter(state__in=[State.NEW, State.OWNED]).exclude(heard)
    if seen is None and first.owned_at is not None:
        unheard = unheard.filter(stored_at__gt=first.owned_at)
    if set(unheard.values_list("pk", flat=True)) - set(seen or ()):
        raise NotNow(
            "It got worse since you opened it", "the caller rang again", "reload the page and listen"
        )


def reopen(actor: Actor, message_id: str) -> None:
    """Undo a close; if it is not closed, give the message back so that anybody can take it."""
    found = _first(actor, message_id, Act.CLOSE)
    with transaction.atomic():
        all_of_it = together(found.id)
        closed = all_of_it.filter(state=State.CLOSED)
        undone = closed.filter(pk=found.pk).exists()
        if undone:
            closed.update(state=State.OWNED, outcome="", tried_at=None, closed_at=None, closed_by=None)
        owned = all_of_it.filter(state=State.OWNED)
        # Reopened for somebody who is locked out, or for nobody, it would be nobody's: it rings anew.
        nobodys = Q(owner=None) | Q(owner__is_active=False)
        given_back = _give_back(owned.filter(nobodys) if undone else owned.filter(owner=actor.user))
        if not undone and not given_back:
            raise NotNow("Nothing to undo", "the message is not yours and not closed", "reload the page")
        write(actor, "message:reopen" if undone else "message:release", message=found.id)


def make_real(actor: Actor, message_id: str) -> None:
    """Somebody rang the draft's number in earnest: a manager makes the test a message. It rings when it should have;
    one that came in as a recording is new again, and what was said is written down.

    Raises NotNow for what is no test, Forbidden for all but managers.
    """
    found = find(actor, message_id, Act.CLOSE)
    demand(actor, Act.EDIT_LINE, found.id)
    if "test" not in found.tags:
        raise NotNow("This is no test call", "it came in by a line that is live", "reload the page")
    with transaction.atomic():
        # A worker may be at it: its clip, its words.
        row = Message.objects.select_for_update().get(pk=found.pk)
        urgent = row.pressed_urgent or "red_flag" in kinds_of_reasons(row)
        urgency = Urgency.URGENT if urgent else Urgency.REVIEW
        studio = [tag for tag in row.tags if tag == "studio" or tag.startswith("studio:")]
        change: dict[str, object] = {"tags": [tag for tag in row.tags if tag not in ("test", *studio)]}
        if studio:
            change |= _anew(row, actor.now)
        Message.objects.filter(pk=found.pk).update(**change, urgency=urgency)
        if urgency == Urgency.URGENT:
            Message.objects.filter(pk=found.pk, state=State.NEW).update(needs_alert=True)
        write(actor, "message:real", message=found.id, detail={"urgency": urgency.value})


def _anew(row: Message, now: datetime) -> dict[str, object]:
    """A recording that was none: nobody has it, and its words are still to be found."""
    change: dict[str, object] = {}
    if row.state == State.CLOSED:
        change = {
            "state": State.NEW, "outcome": "", "closed_at": None, "closed_by": None, "owner": None, "owned_at": None,
        }  # fmt: skip
    if row.wav_bytes:
        jobs.enqueue("transcribe", row.id, now)
        change["words"] = Words.PENDING
    return change


def _give_back(owned: QuerySet[Message]) -> int:
    """Nobody's again; what is urgent rings, and an addition by the message that it joins."""
    urgent = Case(When(urgency=Urgency.URGENT, joins=None, then=Value(True)), default=Value(False))
    return owned.update(state=State.NEW, owner=None, owned_at=None, needs_alert=urgent)


def give_back_all(owner: User, actor: str, now: datetime) -> int:
    """What a person owned when the account was locked: others must be able to take it. Returns how many."""
    with transaction.atomic():
        owned = Message.objects.filter(owner=owner, state=State.OWNED)
        ids = sorted(owned.select_for_update().values_list("pk", flat=True))
        _give_back(owned.filter(pk__in=ids))
        for message_id in ids:
            audit.record(
                owner.practice_id, actor=actor, action="message:release", now=now, message=message_id,
                detail={"owner": owner.login},
            )  # fmt: skip
    return len(ids)


def pulse(actor: Actor) -> dict[str, object]:
    """Figures that change when something happens to a message that exists for this person, and only then. No PHI."""
    return _visible(actor).aggregate(
        all=Count("id"), stored=Max("stored_at"), owned=Max("owned_at"), closed=Max("closed_at"),
        pending=Count("id", filter=Q(words=Words.PENDING)), unowned=Count("id", filter=Q(state=State.NEW)),
        urgent=Count("id", filter=Q(urgency=Urgency.URGENT)),
    )  # fmt: skip


def counts(actor: Actor) -> dict[str, int]:
    """How many open messages, per mailbox id and view. No PHI, so no audit row; Forbidden for who may not list."""
    demand(actor, Act.LIST)
    open_ones = _in_view(actor, "open", "")
    ids = list(open_ones.values_list("id", flat=True))
    result = {
        "open": len(ids),
        "mine": open_ones.filter(owner=actor.user).count(),
        "lamp": open_ones.filter(urgency=Urgency.URGENT, state=State.NEW).count(),
        "unheard": len(ids) - len(_heard(actor, ids)),
        "unrouted": open_ones.filter(mailbox=None).count(),
    }
    result |= dict(open_ones.exclude(mailbox=None).values_list("mailbox_id").annotate(n=Count("id")))
    return result
