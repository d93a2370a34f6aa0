"""Reading and changing messages by role and practice; words that arrive late; disposal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.factories import CALLER, House, make_message

from nightbell.compliance import disposal
from nightbell.compliance.models import DisposalCertificate
from nightbell.core.clock import utc_now
from nightbell.core.errors import NightbellError, TemporaryError
from nightbell.core.ids import new_ulid
from nightbell.core.log import Log
from nightbell.core.notice import Hearing, Word
from nightbell.mailbox import playing, service, transcribe
from nightbell.mailbox.errors import BadText, NotNow
from nightbell.mailbox.models import Message, State
from nightbell.people.access import NotFound
from nightbell.people.roles import Role
from nightbell.sealing.errors import NoSuchKey
from nightbell.store import vault
from nightbell.store.models import Job

CHEST = "I have chest pain since this morning call me at five zero three five five five zero one four eight"


def _words(text: str, confidence: float = 0.95) -> tuple[Word, ...]:
    return tuple(Word(" " + w, i * 0.3, i * 0.3 + 0.25, confidence) for i, w in enumerate(text.split()))


class Ear:
    """A recogniser with a prepared answer: what is tested is what becomes of it."""

    def __init__(self, answer: Hearing | Exception) -> None:
        self.answer = answer
        self.heard = 0

    def hear(self, pcm: bytes, language: str | None, rate: int = 8000) -> Hearing:
        self.heard = len(pcm)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def _transcribe(answer: Hearing | Exception, later: timedelta = timedelta(0)) -> Ear:
    ear = Ear(answer)
    assert transcribe.run_one(ear, lambda: utc_now() + later, Log("test"))
    return ear


def test_red_flags_raise_a_message_and_make_it_due_for_an_alert(house: House) -> None:
    message = make_message(house.mailbox)
    ear = _transcribe(Hearing("en", _words(CHEST), "fake"))
    assert ear.heard == 3 * 16000
    message.refresh_from_db()
    assert (message.urgency, message.needs_alert, message.words) == ("urgent", True, "ready")
    view = service.message(house.actor(Role.CLINICIAN), message.id)
    assert [r.quote for r in view.row.reasons if r.kind == "red_flag"] == ["chest pain"]
    assert view.words is not None
    assert [view.words[i].text for i in sorted(view.word_reasons)] == [" chest", " pain"]
    assert view.number_span is not None


def test_words_never_lower_what_the_key_raised(house: House) -> None:
    message = make_message(house.mailbox, urgent=True)
    _transcribe(Hearing("en", _words("I would like to move my appointment to next week please"), "fake"))
    message.refresh_from_db()
    assert message.urgency == "urgent"


def test_a_failed_transcription_never_hides_the_message(house: House) -> None:
    message = make_message(house.mailbox)
    _transcribe(TemporaryError("the speech engine", "it died"))
    assert Job.objects.get().ended_at is None
    assert service.inbox(house.actor(Role.CLINICIAN)).rows[0].words_status == "pending"
    _transcribe(NightbellError("the speech model", "a file is missing"), timedelta(minutes=1))
    message.refresh_from_db()
    assert (message.words, message.urgency) == ("failed", "review")
    assert service.inbox(house.actor(Role.CLINICIAN)).rows[0].id == message.id


def test_a_transcription_is_kept_once_when_the_lease_ran_out(house: House) -> None:
    make_message(house.mailbox)
    ear = Ear(Hearing("en", _words(CHEST), "fake"))
    hear = ear.hear

    def slow(pcm: bytes, language: str | None, rate: int = 8000) -> Hearing:
        ear.hear = hear  # type: ignore[method-assign]
        transcribe.run_one(ear, lambda: utc_now() + transcribe.LEASE * 2, Log("second"))
        return hear(pcm, language)

    ear.hear = slow  # type: ignore[method-assign]
    transcribe.run_one(ear, utc_now, Log("first"))
    assert Job.objects.get().outcome == "done"
    from nightbell.audit.models import Event

    assert Event.objects.filter(action="message:transcribed").count() == 1


def test_urgent_comes_first_then_unheard_then_oldest(house: House) -> None:
    now = utc_now()
    old, heard, new, urgent = (
        make_message(house.mailbox, urgent=u, answered_at=now - timedelta(hours=h))
        for u, h in ((False, 5), (False, 9), (False, 1), (True, 2))
    )
    playing.sound(house.actor(Role.FRONT_DESK), heard.id, 0, 1000)
    page = service.inbox(house.actor(Role.CLINICIAN))
    assert [r.id for r in page.rows] == [urgent.id, old.id, new.id, heard.id]
    assert page.unheard_count == 4
    first = service.inbox(house.actor(Role.CLINICIAN), limit=3)
    rest = service.inbox(house.actor(Role.CLINICIAN), limit=3, cursor=first.next or "")
    assert [r.id for r in first.rows + rest.rows] == [r.id for r in page.rows]
    assert rest.next is None


def test_the_header_alone_is_a_play_and_no_hearing(house: House) -> None:
    message, actor = make_message(house.mailbox), house.actor(Role.CLINICIAN)
    assert len(playing.sound(actor, message.id, 0, 44).data) == 44
    assert not service.message(actor, message.id).heard_by
    assert len(playing.sound(actor, message.id, 40, 5).data) == 5
    assert [who.id for who, _, _ in service.message(actor, message.id).heard_by] == [actor.user.id]


def test_a_long_stretch_is_given_whole(house: House) -> None:
    """More than the reader fetches ahead (256 kB)."""
    message = make_message(house.mailbox, seconds=40)
    assert len(playing.sound(house.actor(Role.CLINICIAN), message.id, 0, 600_000).data) == 600_000


def test_another_practices_message_looks_like_none(house: House, other: House) -> None:
    message = make_message(house.mailbox)
    stranger = other.actor(Role.CLINICIAN)
    reads: list[Callable[[str], object]] = [
        lambda i: service.message(stranger, i),
        lambda i: playing.sound(stranger, i, 0, 100),
        lambda i: service.acknowledge(stranger, i),
        lambda i: service.note(stranger, i, "x"),
        lambda i: service.close(stranger, i, "reached"),
    ]
    for read in reads:
        texts = []
        for message_id in (message.id, new_ulid(), "../../etc/passwd"):
            with pytest.raises(NotFound) as found:
                read(message_id)
            texts.append(str(found.value))
        assert len(set(texts)) == 1
    assert service.inbox(stranger).rows == ()


@pytest.mark.parametrize(
    ("role", "number", "words", "notes"),
    [
        (Role.FRONT_DESK, True, True, True),
        (Role.CLINICIAN, True, True, True),
        (Role.MANAGER, True, True, True),
        (Role.DISPATCHER, True, False, False),
    ],
)
def test_each_role_sees_its_parts(house: House, role: Role, number: bool, words: bool, notes: bool) -> None:
    message = make_message(house.mailbox)
    _transcribe(Hearing("en", _words(CHEST), "fake"))
    service.note(house.actor(Role.CLINICIAN), message.id, "Called back; Ñandú")
    view = service.message(house.actor(role), message.id)
    assert (view.row.callback_number == CALLER) == number
    assert (view.words is not None) == words
    assert (view.notes is not None) == notes
    if not words:
        assert view.row.first_words is None
        assert not any(r.quote for r in view.row.reasons)
        assert not view.word_reasons


def test_a_message_is_closed_with_an_outcome_and_can_be_undone(house: House) -> None:
    message = make_message(house.mailbox)
    actor = house.actor(Role.CLINICIAN)
    with pytest.raises(BadText):
        service.close(actor, message.id, "done")
    service.close(actor, message.id, "reached")
    with pytest.raises(NotNow):
        service.close(actor, message.id, "reached")
    assert service.inbox(actor).rows == ()
    assert service.inbox(actor, view="done").rows[0].outcome == "reached"
    service.reopen(actor, message.id)
    assert service.inbox(actor, view="mine").rows[0].state == "acknowledged"


@pytest.mark.parametrize("text", ["", "   ", "x" * 4001, "a\x00b"])
def test_a_note_that_cannot_be_kept_is_refused(house: House, text: str) -> None:
    message = make_message(house.mailbox)
    with pytest.raises(BadText):
        service.note(house.actor(Role.CLINICIAN), message.id, text)


def test_a_disposed_message_is_gone_and_certified(house: House) -> None:
    message = make_message(house.mailbox)
    service.note(house.actor(Role.CLINICIAN), message.id, "secret")
    disposal.dispose(message, "user:manager", "request", utc_now())
    disposal.dispose(message, "user:manager", "request", utc_now())  # again after a crash
    with pytest.raises(NoSuchKey):
        vault.keyring().get(message.id, "message")
    with pytest.raises(NotFound):
        service.message(house.actor(Role.CLINICIAN), message.id)
    row = Message.objects.get()
    assert (row.state, row.caller_sealed, row.transcript_sealed) == (State.DISPOSED, None, None)
    assert DisposalCertificate.objects.get().compacted_at is None
    disposal.compact(utc_now())
    assert DisposalCertificate.objects.get().compacted_at is not None


def test_counts_hold_no_phi_and_follow_the_inbox(house: House) -> None:
    message = make_message(house.mailbox, urgent=True)
    actor = house.actor(Role.CLINICIAN)
    assert service.counts(actor) | {house.mailbox.id: 1} == service.counts(actor)
    assert service.counts(actor)["lamp"] == 1
    service.acknowledge(actor, message.id)
    assert (service.counts(actor)["lamp"], service.counts(actor)["mine"]) == (0, 1)
