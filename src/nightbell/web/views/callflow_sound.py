"""What the line sounds like: single clips, what callers hear now, and a practice's own recordings."""

from __future__ import annotations

from contextlib import suppress

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST, require_safe

from nightbell.core.errors import NightbellError
from nightbell.core.sound import BadSound
from nightbell.flow.clips import LANGUAGES
from nightbell.flow.plan import BadPlan
from nightbell.line import service as lines
from nightbell.people.access import NotFound
from nightbell.people.roles import Act
from nightbell.web import callflow_sound as sound
from nightbell.web.callflow_data import Desk
from nightbell.web.callflow_page import Place, Trouble, place_of
from nightbell.web.callflow_recording import Brought, finished, recording, waiting
from nightbell.web.callflow_words import clips_of
from nightbell.web.doors import actor_of, allows, ulid_or_nothing
from nightbell.web.views.callflow import back, page, revision_of

_KEPT = "private, max-age=31536000, immutable"
_HEARD = ("first", "greeting", "menu")


def _answer(request: HttpRequest, data: bytes, kept: bool) -> HttpResponse:
    mark = sound.etag(data)
    if request.headers.get("If-None-Match") == mark:
        response: HttpResponse = HttpResponseNotModified()
    else:
        response = HttpResponse(data, content_type="audio/wav")
        response["Content-Length"] = str(len(data))
    response["ETag"] = mark
    response["Cache-Control"] = _KEPT if kept else "private, no-cache"
    return response


def _nothing() -> NotFound:
    return NotFound("There is no such recording", "", "go to the call flow")


@require_safe
@allows(Act.VIEW_LINE)
def clip(request: HttpRequest, language: str, name: str) -> HttpResponse:
    """`/line/clip/en/goodbye.wav`, `/line/clip/en/own-key-3.wav?own=<sha256>`, or `?own=builtin:...`."""
    actor = actor_of(request)
    own = request.GET.get("own", "")
    try:
        if own and not own.startswith("builtin:"):
            data = lines.clip_bytes(actor, own)
        else:
            said = own.removeprefix("builtin:") or name
            data = sound.wav(sound.packaged(said if said == "tone" else f"{language}/{said}"))
    except (sound.NoSuchClip, ValueError):
        raise _nothing() from None
    return _answer(request, data, kept=bool(own or request.GET.get("v")))


@require_safe
@allows(Act.VIEW_LINE)
def hear(request: HttpRequest) -> HttpResponse:
    """`/line/hear?lang=es`: first words, greeting and menu of the version that the phone has, at this moment."""
    desk = Desk(actor_of(request))
    plan, number = desk.plan_on_phone()
    language = sound.known_language(request.GET.get("lang", ""), plan.languages)
    config = desk.line(plan, number).config("", desk.now, language=language)
    names: list[str] = []
    for node in _HEARD:
        names += clips_of(getattr(config.graph.nodes[node], "words", ()), config, language)
    try:
        return _answer(request, sound.together(names, plan, desk.own), kept=False)
    except sound.NoSuchClip:
        raise _nothing() from None


@require_POST
@allows(Act.EDIT_LINE)
def record(request: HttpRequest) -> HttpResponse:
    """`/line/recording`: a file or words in, a recording to listen to out. The draft stays as it is."""
    desk = Desk(actor_of(request))
    place, typed = place_of(request, desk), request.POST
    name, source = typed.get("clip", ""), typed.get("how", "upload")
    upload = request.FILES.get("file")
    words = typed.get("words", "").strip()[:2000]
    brought = Brought(upload.read() if upload is not None else b"", words, source)
    language = typed.get("clip_lang", place.language)
    try:
        if language not in LANGUAGES or source not in ("browser", "upload", "speech"):
            raise BadSound("the recording", "the form is none of this page's", "reload the page")
        made = lines.keep_clip(desk.actor, name, language, finished(brought, name, language), source, words)
    except (BadSound, lines.BadClip) as error:
        return _not_kept(request, desk, place, error)
    return back(Place(place.at, place.node, language), "kept", f"own-{name}", take=made.id, clip=name)


def _not_kept(request: HttpRequest, desk: Desk, place: Place, error: NightbellError) -> HttpResponse:
    told = f"{error.why[:1].upper()}{error.why[1:]}. {error.mend[:1].upper()}{error.mend[1:]}."
    trouble = Trouble("recording", request.POST, {"file": told}, plan=desk.draft.plan)
    return page(request, desk, place, trouble)


@require_POST
@allows(Act.EDIT_LINE)
def record_number(request: HttpRequest) -> HttpResponse:
    """`/line/recording/number`: a number under which a recording is spoken; with 'stop' there is none any more, and
    the recording 'take' goes, unless a version or the draft names it."""
    desk = Desk(actor_of(request))
    place, typed = place_of(request, desk), request.POST
    name, language = typed.get("clip", ""), typed.get("clip_lang", place.language)
    if typed.get("stop"):
        if place.take:
            with suppress(NotFound):  # pressed twice
                lines.delete_clip(desk.actor, ulid_or_nothing(place.take))
        lines.stop_recording(desk.actor, name, language)
        return back(place, "", f"own-{place.clip}", clip=place.clip)
    try:
        lines.record_number(desk.actor, name, language)
    except lines.BadClip as error:
        return _not_kept(request, desk, place, error)
    return back(Place(place.at, place.node, language), "", f"own-{name}", clip=name)


@require_GET
@allows(Act.EDIT_LINE)
def news(request: HttpRequest) -> HttpResponse:
    """`/line/recording/news?clip=own-key-3&lang=es`: the part of a panel that shows a recording, as soon as something
    came of a call; nothing (204) till then. `seen=1`: what could not be used before is on the page already."""
    desk = Desk(actor_of(request))
    place = place_of(request, desk)
    number = lines.recorded(desk.actor, place.clip, place.language)
    told = number is not None and bool(number.trouble) and request.GET.get("seen") != "1"
    if number is not None and waiting(number, desk.now) and not told:
        return HttpResponse(status=204)
    view = desk.view(desk.draft.plan, place.at, place.language)
    found = {
        "r": recording(desk, view, place, place.clip, None),
        "place": place,
        "draft": desk.draft,
        "may_edit": True,
    }
    return render(request, "parts/line_recording.html", found)


@require_POST
@allows(Act.EDIT_LINE)
def use(request: HttpRequest) -> HttpResponse:
    """`/line/recording/use`: a kept recording into the draft, or with no hash our words again."""
    desk = Desk(actor_of(request))
    place, typed = place_of(request, desk), request.POST
    name, sha256 = typed.get("clip", ""), typed.get("sha256", "")
    try:
        lines.use_clip(desk.actor, revision_of(typed), name, place.language, sha256)
    except lines.Stale as error:
        return page(request, Desk(desk.actor), place, Trouble("use", typed, {}, error))
    except BadPlan as error:
        return page(request, desk, place, Trouble("use", typed, {"": f"{error.why}. {error.mend}."}))
    lines.stop_recording(desk.actor, name, place.language)  # what was said into the phone is decided on, too
    return back(Place(place.at, place.node, place.language), "saved", f"own-{name}", clip=name)
