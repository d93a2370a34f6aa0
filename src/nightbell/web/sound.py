"""Sound over HTTP: buffered pieces of a sealed WAV, for the page and for the API."""

from __future__ import annotations

from django.http import HttpResponse

from nightbell.mailbox import playing
from nightbell.mailbox.errors import BadRange
from nightbell.people.access import Actor
from nightbell.web.ranges import PIECE, Wanted, parse

HEAD = 44  # bytes of a WAV header: enough to learn the whole length


def sound_response(actor: Actor, message_id: str, range_header: str) -> HttpResponse:
    """206 for a range (at most 512 kB of it), 416 for one that is not there, 200 with everything without one.

    Raises what `playing.sound` raises; grants and audit rows are its matter.
    """
    wanted = parse(range_header)
    try:
        if wanted is None:
            return _whole(actor, message_id)
        return _piece(actor, message_id, wanted)
    except BadRange:
        response = _reply(b"", 416)
        response["Content-Range"] = "bytes */*"
        return response


def _piece(actor: Actor, message_id: str, wanted: Wanted) -> HttpResponse:
    start, length = wanted.start, wanted.length
    if start is None:
        total = playing.sound(actor, message_id, 0, HEAD).total
        place = wanted.within(total)
        if place is None:
            raise BadRange("range")
        start, length = place
    sound = playing.sound(actor, message_id, start, length)
    response = _reply(sound.data, 206)
    response["Content-Range"] = f"bytes {sound.start}-{sound.start + len(sound.data) - 1}/{sound.total}"
    return response


def _whole(actor: Actor, message_id: str) -> HttpResponse:
    first = playing.sound(actor, message_id, 0, PIECE)
    parts, have = [first.data], len(first.data)
    while have < first.total:
        following = playing.sound(actor, message_id, have, PIECE)
        if not following.data:
            break
        parts.append(following.data)
        have += len(following.data)
    return _reply(b"".join(parts), 200)


def _reply(body: bytes, status: int) -> HttpResponse:
    response = HttpResponse(body, status=status, content_type="audio/wav")
    response["Accept-Ranges"] = "bytes"
    response["Content-Length"] = str(len(body))
    response["Content-Disposition"] = 'inline; filename="message.wav"'
    return response
