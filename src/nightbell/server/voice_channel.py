"""The channel of telephones: which numbers may be rung, and whose they are."""

from __future__ import annotations

from typing import Protocol

from nightbell.core.dialling import allowed, e164
from nightbell.core.notice import Channel, ChannelError, Receipt, Rendered
from nightbell.line.models import Trunk
from nightbell.oncall import voice
from nightbell.oncall.models import Attempt, Notice
from nightbell.people.models import Contact, ContactKind, Practice


class Rings(Protocol):
    """Who places the calls, as server.calling."""

    def attempt(self, attempt: Attempt, rendered: Rendered, address: str) -> Receipt: ...

    def notice(self, rendered: Rendered, address: str, reference: str) -> Receipt: ...


class VoiceChannel:
    """Implements `core.notice.Channel` for telephones. demo: the channel for numbers that a demo does not ring; dials: whether
    somebody set up a way to the phone network."""

    name = "voice"

    def __init__(self, rings: Rings, demo: Channel | None = None) -> None:
        self._rings, self._demo = rings, demo

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        attempt = (
            Attempt.objects.filter(pk=reference)
            .select_related("alert__practice", "alert__message", "user__practice", "contact")
            .first()
        )
        if self._demo is not None and not _is_here(address) and not dials():
            return self._demo.send(rendered, address, reference)
        if not _is_here(address) and not _may(attempt, address):
            raise ChannelError(voice.WORDS["not_allowed"], permanent=True)
        if attempt is not None:
            return self._rings.attempt(attempt, rendered, address)
        return self._rings.notice(rendered, address, reference)


def _may(attempt: Attempt | None, address: str) -> bool:
    """Whether this number is rung at all: also of contacts that were proved before there was such a rule."""
    if attempt is not None:
        practice: Practice | None = attempt.alert.practice
    else:  # a notice or a code: the practice of whoever has this telephone
        theirs = Practice.objects.filter(
            users__contacts__kind=ContactKind.VOICE, users__contacts__address=address
        )
        practice = theirs.first()
    return e164(address) == address and allowed(address, practice.number if practice else "")


def _is_here(address: str) -> bool:
    """A telephone on this machine, of a demo or a test."""
    return address.startswith("sip:")


def dials() -> bool:
    """Whether there is a carrier at all."""
    return Trunk.objects.filter(removed_at=None).exists()


def whose(planned: Notice | None, address: str) -> Contact | None:
    """Whose telephone rings: for a notice a proved one of its person, else whoever waits for a code or a test."""
    mine = Contact.objects.filter(kind=ContactKind.VOICE, address=address, ended_at=None)
    mine = mine.select_related("user__practice")
    if planned is not None:
        return mine.filter(user_id=planned.user.person_id).exclude(verified_at=None).first()
    return mine.exclude(send_at=None).order_by("-send_at").first()
