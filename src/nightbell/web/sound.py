"""Sound over HTTP: buffered pieces of a sealed WAV, for the page and for the API."""

from __future__ import annotations

from django.http import HttpResponse

from nightbell.core.errors import TemporaryError
from nightbell.mailbox import playing
from nightbell.mailbox.errors import BadRange
from nightbell.people.access import Actor, write
from nightbell.people.roles import Act
from nightbell.sealing.errors import NoSuchKey, SealError, StaleKeyring, Truncated
from nightbell.web.ranges import Wanted, parse


def sound_response(actor: Actor, message_id: str, range_header: str, talk_id: str = "") -> HttpResponse:
    """206 for a range (at most 512 kB of it), 416 for one that is not there, 200 with everything without one.

    talk_id: of that call back in place of the message. Raises what `playing.sound` raises, and TemporaryError when the store cannot be read; grants and audit rows are
    its matter. Damaged sound leaves a row of its own, so that the log counts what could not be played.
    """
    wanted = parse(range_header)
    try:
        if wanted is None:
            return _whole(actor, message_id, talk_id)
        return _piece(actor, message_id, talk_id, wanted)
    except BadRange:
        return _not_there(actor, message_id, talk_id)
    except (NoSuchKey, StaleKeyring):
        raise  # about keys, not about this sound
    except SealError:
        write(actor, Act.PLAY, message=message_id, outcome="damaged")
        raise
    except OSError as error:
        raise TemporaryError(
            "The recording cannot be read now",
            "the store of recordings does not answer",
            "calls are still answered and recorded; tell the person who looks after this system, then try again",
        ) from error


def _not_there(actor: Actor, message_id: str, talk_id: str) -> HttpResponse:
    """416, with the true length (RFC 9110 §15.5.17)."""
    response = _reply(b"", 416)
    response["Content-Range"] = f"bytes */{playing.length(actor, message_id, talk_id)}"
    return response


def _piece(actor: Actor, message_id: str, talk_id: str, wanted: Wanted) -> HttpResponse:
    """One request is one play: where an end begins is reckoned before anything is opened."""
    place = wanted.within(playing.length(actor, message_id, talk_id))
    if place is None:
        raise BadRange("range")
    sound = playing.sound(actor, message_id, *place, talk_id)
    response = _reply(sound.data, 206)
    response["Content-Range"] = f"bytes {sound.start}-{sound.start + len(sound.data) - 1}/{sound.total}"
    return response


def _whole(actor: Actor, message_id: str, talk_id: str) -> HttpResponse:
    """All of it or an error: half a recording must never look like the whole, nor count as heard."""
    total = playing.length(actor, message_id, talk_id)
    sound = playing.sound(actor, message_id, 0, total, talk_id)
    if len(sound.data) < total:
        raise Truncated("The recording", f"it ends after {len(sound.data)} of {total} bytes")
    return _reply(sound.data, 200)


def _reply(body: bytes, status: int) -> HttpResponse:
    response = HttpResponse(body, status=status, content_type="audio/wav")
    response["Accept-Ranges"] = "bytes"
    response["Content-Length"] = str(len(body))
    response["Content-Disposition"] = 'inline; filename="message.wav"'
    return response
