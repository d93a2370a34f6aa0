"""The masked call back from a message's page: one's own telephone rings, then the patient's, and neither shows the other."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from nightbell.core.dialling import allowed, e164
from nightbell.core.ids import is_ulid
from nightbell.line.models import Trunk
from nightbell.mailbox.errors import NotNow
from nightbell.mailbox.values import MessageView
from nightbell.oncall import callback, voice
from nightbell.oncall.callback import News
from nightbell.people.access import Actor, NotFound
from nightbell.people.roles import Act
from nightbell.web.doors import actor_of, allows
from nightbell.web.errors import Answer
from nightbell.web.errors import render as render_answer
from nightbell.web.format import clock_time
from nightbell.web.sound import sound_response

WORDS = {
    "asked": "Your phone is about to ring.",
    "ringing_you": "Your phone rings. Press 1 when you are there.",
    "ringing_patient": "The patient’s phone rings.",
}
ENDED = {
    "busy": "Your phone was busy.", "no_answer": "You did not answer.", "refused": "Your phone refused the call.",
    "unreachable": "Your phone could not be reached.", "no_trunk": "No carrier is there to call by.",
    "no_phone": "The phone part of this system is not running.", "no_telephone": "You have no proved telephone.",
    "no_number": "There is no number that can be called.", "too_late": "It could not be placed in time.",
    "lost": "The call was cut off.",
}  # fmt: skip


def context(actor: Actor, view: MessageView) -> dict[str, Any]:
    """For a message's page. masked: the button rings one's own telephone instead of opening a dialler."""
    row, practice = view.row, actor.user.practice
    mine = row.state == "acknowledged" and row.owner is not None and row.owner.id == actor.user.id
    if not (mine and actor.may(Act.CALL)):
        return {"masked": False, "call": None}
    able = bool(e164(practice.number)) and any(
        allowed(e164(one.number), practice.number) for one in view.numbers
    )
    masked = able and voice.number_of(actor.user, actor.now) is not None and _carrier()
    return {
        "masked": masked,
        "call": _shown(callback.news(actor, row.id), practice.zone, actor),
        "records": voice.may_record(actor.practice, actor.now),
    }


def _carrier() -> bool:
    return Trunk.objects.filter(removed_at=None).exists()


def _shown(news: News | None, zone: str, actor: Actor) -> dict[str, Any] | None:
    """None where there is nothing to tell: no call, or one whose outcome was noted."""
    if news is None or news.settled:
        return None
    text = WORDS.get(news.state, "")
    if news.state == "talking" and news.answered_at is not None:
        text = f"You are connected since {clock_time(news.answered_at, zone, actor.now)}."
    elif news.state == "ended":
        text = ENDED.get(news.why, "The call has ended.")
        if news.answered_at is not None:
            text = "The call has ended. Say below how it ended."
    talked = news.state == "ended" and news.answered_at is not None
    return {"text": text, "under_way": news.state != "ended", "state": news.state, "talked": talked}


def _known(message_id: str) -> str:
    if not is_ulid(message_id):
        raise NotFound("There is no such message", "", "go to the inbox")
    return message_id


@require_POST
@allows(Act.CALL)
def start(request: HttpRequest, message_id: str) -> HttpResponse:
    """`/m/<id>/call`. source: which of the patient's numbers, '' for the first."""
    known = _known(message_id)
    try:
        callback.ask(actor_of(request), known, source=request.POST.get("source", ""))
    except NotNow as error:
        return render_answer(request, Answer(409, error.what, error.why, error.mend))
    return HttpResponseRedirect(f"{reverse('message', args=[known])}#outcome")


@require_GET
@allows(Act.CALL)
def news(request: HttpRequest, message_id: str) -> HttpResponse:
    """`/m/<id>/call/news`: parts of the page, asked for again while a call is under way. No PHI.

    was: the state that the page shows; where it is still so there is nothing to say (204), and nothing is read out anew.
    """
    actor, known = actor_of(request), _known(message_id)
    shown = _shown(callback.news(actor, known), actor.user.practice.zone, actor)
    if shown is not None and shown["under_way"] and shown["state"] == request.GET.get("was"):
        return HttpResponse(status=204)
    parts = {"call": shown, "message_id": known, "masked": _carrier(), "polled": True}
    return render(request, "parts/call_back.html", parts)


@require_GET
@allows(Act.PLAY)
def talk(request: HttpRequest, message_id: str, talk_id: str) -> HttpResponse:
    """`/m/<id>/call/<call back>/audio`: a call back's recording, in pieces as asked, as the message's own sound."""
    actor, known = actor_of(request), _known(message_id)
    return sound_response(actor, known, request.headers.get("Range", ""), _known(talk_id))
