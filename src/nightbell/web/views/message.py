"""One message: its page, its sound, and what a person does with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from nightbell.core.ids import is_ulid
from nightbell.mailbox import playing
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.errors import BadText, NotNow
from nightbell.mailbox.models import SETTLED
from nightbell.mailbox.numbers import spoken_number
from nightbell.mailbox.talks import TalkView
from nightbell.mailbox.values import MessageView, Person, Row
from nightbell.oncall import outcomes
from nightbell.oncall import service as oncall
from nightbell.oncall.outcomes import Try
from nightbell.oncall.policy_admin import takers
from nightbell.people import covers
from nightbell.people.access import Actor, NotFound
from nightbell.people.models import User
from nightbell.people.roles import Act, Part, may
from nightbell.web import recorded
from nightbell.web.doors import actor_of, allows, stand_in
from nightbell.web.errors import Answer
from nightbell.web.errors import render as render_answer
from nightbell.web.format import clock_time, dial, phone, stopwatch
from nightbell.web.present import (
    NUMBER_FALSE,
    OUTCOME_WORDS,
    end_note,
    flags,
    part_chips,
    quote,
    row_view,
    told,
    why,
)
from nightbell.web.sound import sound_response
from nightbell.web.views import message_after as after
from nightbell.web.views import message_call as masked
from nightbell.web.wave import bars, mark
from nightbell.web.words import pieces

_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}\Z")
TOASTS = {
    "take": ("You have this. Notifying has stopped.", "reopen"),
    "note": ("Your note is kept.", ""),
    "close": ("Closed, with what happened.", "reopen"),
    "tried": ("Noted. It stays yours and comes back.", ""),
    "signed": ("The phone note is signed.", ""),
    "reopen": ("It is open again.", ""),
    "handed": ("Handed over. Your colleague is told now, alone.", ""),
    "real": ("It is a message now. If it is urgent it rings.", ""),
}
_ACTS = (Act.PLAY, Act.TAKE, Act.NOTE, Act.CLOSE, Act.EDIT_LINE, Act.DOWNLOAD)


def _known(message_id: str) -> str:
    if not is_ulid(message_id):
        raise NotFound("There is no such message", "", "go to the inbox")
    return message_id


@require_GET
@allows(Act.VIEW)
def message(request: HttpRequest, message_id: str) -> HttpResponse:
    """`/m/<id>/`."""
    actor = actor_of(request)
    view = mailbox.message(actor, _known(message_id))
    if view.row.joins:  # it is worked on with the one that it joins, and heard there
        return HttpResponseRedirect(reverse("message", args=[view.row.joins]))
    did = request.GET.get("did", "")
    return render(request, "pages/message.html", _context(actor, view) | {"toast": _toast(message_id, did)})


def _toast(message_id: str, did: str) -> dict[str, str] | None:
    if did not in TOASTS:
        return None
    text, undo = TOASTS[did]
    return {"text": text, "undo": reverse(undo, args=[message_id]) if undo else ""}


def _context(actor: Actor, view: MessageView) -> dict[str, Any]:
    row, zone = view.row, actor.user.practice.zone
    sound, vouched = _sound(actor, view), _vouched(view.row)
    ladder = oncall.ladder(row.id) if actor.may(Act.DELIVERY) else ()
    tries, talked = outcomes.history(row.id), recorded.history(row.id)
    return (
        {
            "now": actor.now,
            "zone": zone,
            "here": row.mailbox_id or "open",
            "agrees": _agreement(view),
            "vouched": vouched,
            "calls": [
                tag for tag in sound["r"].calls if not (vouched and tag == NUMBER_FALSE)
            ],  # said beside the number
            "number": phone(row.callback_number or ""),
            "tel": dial(row.callback_number or ""),
            "our_number": phone(actor.user.practice.number),
            "why": why(row.reasons),
            "hear": next((reason.start for reason in flags(row.reasons)), None),
            "sees_words": actor.sees(Part.TRANSCRIPT),
            "may": {act.name.lower(): actor.may(act) for act in _ACTS},
            "notes": view.notes,
            "outcome_word": OUTCOME_WORDS.get(row.outcome, "Asked only" if row.kind == "status" else ""),
            "closed_at": clock_time(row.closed_at, zone, actor.now) if row.closed_at else "",
            "owned_at": clock_time(row.owned_at, zone, actor.now) if row.owned_at else "",
            "trail": trail(view, zone, ladder, tries, talked),
            "talks": recorded.of_message(actor, talked),
            "ladder": ladder,
            "hand_to": _hand_to(actor, view),
            "additions": [_addition(actor, one) for one in view.additions],
        }
        | after.context(actor, view, tries)
        | masked.context(actor, view)
        | sound
    )


def _hand_to(actor: Actor, view: MessageView) -> list[User]:
    """Whom its owner may hand it to: an unrouted one only to who sees such."""
    if view.row.owner is None or view.row.owner.id != actor.user.id:
        return []
    return [one for one in takers(actor) if view.row.mailbox_id or may(one.role, Act.UNROUTED)]


def _sound(actor: Actor, view: MessageView) -> dict[str, Any]:
    """What stands under one recording."""
    return {
        "row": view.row,
        "r": row_view(view.row, actor.user.id, actor.user.practice.zone, actor.now),
        "pieces": pieces(view.words or (), view.word_reasons, view.number_span),
        "end_note": end_note(view.row),
        "chips": part_chips(view.parts or ()),
    } | _drawing(view)


def _addition(actor: Actor, view: MessageView) -> dict[str, Any]:
    at = clock_time(view.row.received_at, actor.user.practice.zone, actor.now)
    return _sound(actor, view) | {"heading": f"Got worse, {at}", "why": why(view.row.reasons)}


def _agreement(view: MessageView) -> tuple[str, str]:
    """What the caller said of their number beside what the carrier gave: words, and '' or 'review'."""
    row = view.row
    if row.callback_number is None:
        return "Your role does not see it", ""
    spoken = spoken_number(view.words, row.language) if view.words else None
    if row.number_from == "unsure":
        other = f" Called from {phone(row.other_number)}." if row.other_number else ""
        return f"Keyed in by the caller, not confirmed.{other} Check it by ear", "review"
    if row.number_from != "caller_id":
        known = (
            "Keyed in by the caller" if row.number_from == "keyed" else "Caller ID, confirmed by the caller"
        )
        if spoken is None or dial(spoken.number) == dial(row.callback_number):
            return known, ""
        return f"{known}. Heard in the message: {phone(spoken.number)}. Check it by ear", "review"
    if spoken is None:
        return (
            ("From caller ID", "") if row.callback_number else ("The caller hid it and said none", "review")
        )
    if not row.callback_number:
        return f"Caller ID hidden. Heard in the message: {phone(spoken.number)}. Check it by ear", "review"
    if dial(spoken.number) == dial(row.callback_number):
        return "Spoken and caller ID agree", ""
    return f"Caller ID. Heard in the message: {phone(spoken.number)}. Check it by ear", "review"


def _vouched(row: Row) -> str:
    """What the carrier's signature says of the number that stands there (RFC 8224): 'yes', 'no', '' for nothing, or where
    the number is another than the one that called."""
    if not row.callback_number or row.number_from not in ("caller_id", "seen"):
        return ""
    return next(
        (word for tag, word in (("number-failed", "no"), ("number-verified", "yes")) if tag in row.tags), ""
    )


def _drawing(view: MessageView) -> dict[str, Any]:
    row = view.row
    red = [(r.start, r.end) for r in flags(row.reasons)]
    marks = [mark(start, end, row.duration_s, "flag") for start, end in red]
    if view.number_span and view.words:
        first, last = view.number_span
        if first <= last < len(view.words):
            marks.append(mark(view.words[first].start, view.words[last].end, row.duration_s, "mark"))
    return {
        "bars": bars(view.peaks or (), row.duration_s, red),
        "marks": [m for m in marks if m],
        "length": stopwatch(row.duration_s),
        "wave_says": _wave_says(view),
    }


def _wave_says(view: MessageView) -> str:
    said = [quote(reason) for reason in flags(view.row.reasons)]
    return f"Recording, {round(view.row.duration_s)} seconds." + (f" Red: {', '.join(said)}." if said else "")


def trail(
    view: MessageView,
    zone: str,
    ladder: tuple[Any, ...],
    tries: tuple[Try, ...] = (),
    talked: tuple[TalkView, ...] = (),
) -> list[dict[str, str]]:
    """Who did what, oldest first: what the message itself knows. The whole log is on the audit page.

    ladder: 'yes' for what "Who is told" says too, which a phone has right under it.
    """
    row = view.row
    events: list[tuple[Any, str, str]] = []
    telling = [
        (rung.at, "", f"Told {rung.name}: {told(rung.channel, rung.answer, rung.receipt)}")
        for rung in ladder
        if rung.state == "done"
    ]
    kind = "Left by caller" if row.has_audio or "undecoded" in row.tags else "Call without a message"
    if row.kind == "status":
        kind = "Asked how far the message is"
    length = f", {stopwatch(row.duration_s)}, sealed while spoken" if row.has_audio else ""
    events.append((row.received_at, "", kind + length))
    for one in view.additions:
        events.append(
            (one.row.received_at, "Got worse", f": the caller rang again, {stopwatch(one.row.duration_s)}")
        )
        for who, first_at, _ in one.heard_by:
            events.append((first_at, f"Heard by {who.name}", ", what got worse"))
    events += telling
    for who, first_at, seconds in view.heard_by:
        part = f", {stopwatch(seconds)} of {stopwatch(row.duration_s)}" if seconds else ""
        events.append((first_at, f"Heard by {who.name}", part))
    if row.owner and row.owned_at:
        stopped = ". Notifying stopped." if row.urgency == "urgent" else ""
        events.append((row.owned_at, f"Taken by {row.owner.name}", stopped))
    for note in view.notes or ():
        events.append((note.at, f"Note by {note.author.name}", ""))
    events += after.events(tries, view) + recorded.events(talked)
    if row.closed_at:
        events.append((row.closed_at, "Closed", f": {OUTCOME_WORDS.get(row.outcome, row.outcome)}"))
    events.sort(key=lambda event: event[0])
    return [
        {"at": clock_time(one[0], zone, one[0]), "bold": one[1], "text": one[2], "ladder": "yes" if one in telling else ""}
        for one in events
    ]  # fmt: skip


@require_GET
@allows(Act.PLAY)
def audio(request: HttpRequest, message_id: str) -> HttpResponse:
    """`/m/<id>/audio`: WAV, in pieces as asked.

    HEAD is refused, as the API does: its headers would tell of a message without a row in the log, and promise sound
    that nobody has looked at.
    """
    return sound_response(actor_of(request), _known(message_id), request.headers.get("Range", ""))


@require_POST
@allows(Act.PLAY)
def heard(request: HttpRequest, message_id: str) -> HttpResponse:
    """The player says how much was heard, in seconds. A wrong figure only counts as nothing."""
    text = request.POST.get("seconds", "")
    seconds = float(text) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) else 0.0
    playing.close_play(actor_of(request), _known(message_id), seconds)
    return HttpResponse(status=204)


def _then(message_id: str, did: str) -> HttpResponse:
    return HttpResponseRedirect(f"{reverse('message', args=[message_id])}?did={did}")


@require_POST
@allows(Act.TAKE)
def take(request: HttpRequest, message_id: str) -> HttpResponse:
    """Take it; or learn who was first, and what can still be done."""
    actor = actor_of(request)
    taken = mailbox.acknowledge(actor, _known(message_id))
    if taken.mine:
        return _then(message_id, "take")
    return _beaten(
        request, message_id, taken.owner, clock_time(taken.at, actor.user.practice.zone, actor.now)
    )


def _beaten(request: HttpRequest, message_id: str, owner: Person, at: str) -> HttpResponse:
    page = {"owner": owner, "at": at, "message_id": message_id, "here": "open"}
    return render(request, "pages/beaten.html", page, status=409)


def _do(request: HttpRequest, message_id: str, did: str, act: Callable[[Actor, str], None]) -> HttpResponse:
    try:
        act(actor_of(request), _known(message_id))
    except (NotNow, BadText) as error:
        status = 409 if isinstance(error, NotNow) else 422
        return render_answer(request, Answer(status, error.what, error.why, error.mend))
    return _then(message_id, did)


@require_POST
@allows(Act.NOTE)
def note(request: HttpRequest, message_id: str) -> HttpResponse:
    """What is refused stands there again: nobody types it twice."""
    text, known = request.POST.get("text", ""), _known(message_id)
    try:
        mailbox.note(actor_of(request), known, text)
    except BadText as error:
        page = {"trouble": error, "typed": text, "message_id": known, "here": "open"}
        return render(request, "pages/note.html", page, status=422)
    return _then(known, "note")


@require_POST
@allows(Act.CLOSE)
def close(request: HttpRequest, message_id: str) -> HttpResponse:
    """What came of it: closed, or it stays with its owner and comes back."""
    outcome, seen = request.POST.get("outcome", ""), request.POST.getlist("seen")
    shown = request.POST.get("tries", "")
    tries = int(shown) if re.fullmatch(r"[0-9]{1,4}", shown) else None
    did = "close" if outcome in SETTLED else "tried"

    def act(actor: Actor, known: str) -> None:
        outcomes.record(actor, known, outcome, seen, after=tries)

    return _do(request, message_id, did, act)


@require_POST
@allows(Act.CLOSE)
def reopen(request: HttpRequest, message_id: str) -> HttpResponse:
    return _do(request, message_id, "reopen", outcomes.reopen)


@require_POST
@allows(Act.EDIT_LINE)
def make_real(request: HttpRequest, message_id: str) -> HttpResponse:
    """Somebody called the draft in earnest."""
    return _do(request, message_id, "real", mailbox.make_real)


@require_GET
@allows(Act.VIEW)
def from_notification(request: HttpRequest, token: str) -> HttpResponse:
    """`/n/<token>`: the link of a notification. It opens nothing by itself; log-in and role decide.

    Of somebody who covers elsewhere it leads to the practice whose alert it is.
    """
    token = token if _TOKEN.match(token) else ""
    theirs, user = oncall.practice_of(token), request.user
    if isinstance(user, User) and theirs and theirs != actor_of(request).practice:
        guest = covers.guest_of(user, theirs)
        if theirs == user.practice_id or (guest is not None and oncall.was_shown(token, guest)):
            stand_in(request, guest)
    found = oncall.alert_for_token(actor_of(request), token)
    return HttpResponseRedirect(reverse("message", args=[found]))
