"""The phone note: frozen as it was signed, sealed, and given out only after the log has it."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from unittest import mock

import pytest
from django.db import connection
from fhir.resources.R4B.bundle import Bundle
from pypdf import PdfReader
from tests.db.web.conftest import signed_in, spoken_message
from tests.factories import CALLER, House

from nightbell.audit.errors import AuditClosed
from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.core.dialling import spaced
from nightbell.mailbox import service
from nightbell.mailbox.errors import BadText
from nightbell.mailbox.models import Message, Note
from nightbell.oncall import outcomes, phone_note, phone_note_pdf, phone_notes
from nightbell.oncall.models import CallBack
from nightbell.oncall.phone_note import Tried, Written
from nightbell.people.access import Forbidden, NotFound
from nightbell.people.roles import Role

TYPED = {
    "patient": "Nguyễn Thị Đào", "caller": "Łukasz Dvořák, husband", "reason": "Chest pain <b>&\nsince one",
    "advice": "Go in now", "follow_up": "Dr Núñez rings Monday",
}  # fmt: skip


@pytest.fixture
def told(house: House) -> Message:
    """Taken, rung once in vain, then reached by a call of ours."""
    message, now = spoken_message(house, urgent=True), utc_now()
    actor = house.actor(Role.CLINICIAN, now)
    service.acknowledge(actor, message.id)
    outcomes.record(actor, message.id, "no_answer")
    call = CallBack.objects.create(
        message=message, user=actor.user, asked_at=now, answered_at=now, ended_at=now + timedelta(seconds=250)
    )
    outcomes.record(house.actor(Role.CLINICIAN, now + timedelta(minutes=6)), message.id, "reached", call=call)
    return message


def test_what_is_known_is_filled_in_and_what_was_said_is_typed(house: House, told: Message) -> None:
    actor = house.actor(Role.CLINICIAN)
    phone_notes.sign(actor, told.id, TYPED)
    given = phone_notes.give_out(actor, told.id, "text")
    found = dict(phone_note.elements(given.note))
    name = actor.user.name
    assert found["Patient"] == "Nguyễn Thị Đào" and found["Who called"] == "Łukasz Dvořák, husband"
    assert found["Number to call"] == spaced(CALLER)
    assert found["Taken by"].startswith(name) and found["Outcome"].startswith("Reached")
    first, second = found["Called back"].split("\n")
    assert first.endswith(f"{name}: No answer") and second.endswith("talked 4 min 10 s")
    assert found["Signed by"].startswith(f"{name}, clinician, ")
    text = phone_note.as_text(given.note)
    assert "Reason: Chest pain <b>&\n    since one\n" in text and told.id in text
    assert phone_note.read(phone_note.to_text(given.note)) == given.note


def test_before_an_outcome_it_says_how_far_it_is(house: House) -> None:
    message, actor = spoken_message(house), house.actor(Role.CLINICIAN)

    def outcome() -> str:
        note = phone_notes.draft(service.message(actor, message.id), house.practice)
        return dict(phone_note.elements(note))["Outcome"]

    assert outcome() == "Not called back yet"
    CallBack.objects.create(message=message, user=actor.user, asked_at=actor.now, answered_at=actor.now)
    assert outcome().startswith("Spoken with")
    outcomes.record(actor, message.id, "reached")
    service.reopen(actor, message.id)
    assert outcome() != "Not called back yet"


def test_it_is_sealed_and_no_note_of_the_others(house: House, told: Message) -> None:
    actor = house.actor(Role.CLINICIAN)
    service.note(actor, told.id, "an ordinary note")
    phone_notes.sign(actor, told.id, TYPED)
    view = service.message(actor, told.id)
    assert [note.text for note in view.notes or ()] == ["an ordinary note"]
    assert len(view.signed or ()) == 1
    assert service.message(house.actor(Role.DISPATCHER), told.id).signed is None
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM mailbox_note")
        stored = repr(
            [[bytes(c) if isinstance(c, memoryview) else c for c in row] for row in cursor.fetchall()]
        )
    assert "Chest pain" not in stored and "Dvo" not in stored
    leaves = b"".join(bytes(leaf) for leaf in Event.objects.values_list("leaf", flat=True))
    assert b"Chest pain" not in leaves and b"Dvo" not in leaves


def test_the_newest_counts_and_the_earlier_ones_stay(house: House, told: Message) -> None:
    actor = house.actor(Role.CLINICIAN)
    phone_notes.sign(actor, told.id, TYPED)
    second = phone_notes.sign(house.actor(Role.MANAGER), told.id, TYPED | {"advice": "Wait"})
    given = phone_notes.give_out(actor, told.id, "pdf")
    assert (given.id, given.note.written.advice) == (second, "Wait")
    assert Note.objects.count() == 2
    with pytest.raises(BadText):
        phone_notes.sign(actor, told.id, {"patient": "x" * 121})
    with pytest.raises(BadText):
        phone_notes.sign(actor, told.id, {"advice": "a\x00b"})
    assert Note.objects.count() == 2


def test_one_tap_signs_what_is_known(house: House, told: Message) -> None:
    phone_notes.sign(house.actor(Role.CLINICIAN), told.id, {})
    given = phone_notes.give_out(house.actor(Role.CLINICIAN), told.id, "text")
    assert dict(phone_note.elements(given.note))["Advice given"] == phone_note.NOT_RECORDED


def test_nothing_is_given_out_before_the_log_has_it(house: House, told: Message) -> None:
    actor = house.actor(Role.CLINICIAN)
    phone_notes.sign(actor, told.id, TYPED)
    for form in ("text", "pdf", "fhir"):
        phone_notes.give_out(actor, told.id, form)
    rows = Event.objects.filter(action="note:download").order_by("seq")
    assert [
        form in bytes(row.leaf) for row, form in zip(rows, (b'"text"', b'"pdf"', b'"fhir"'), strict=True)
    ] == [True] * 3
    closed = mock.patch("nightbell.people.access.write", side_effect=AuditClosed("x"))
    opened = mock.patch("nightbell.oncall.phone_notes.read_one")
    with closed, opened as opener, pytest.raises(AuditClosed):
        phone_notes.give_out(actor, told.id, "pdf")
    assert not opener.called


def test_who_gets_one(house: House, other: House, told: Message) -> None:
    with pytest.raises(NotFound):
        phone_notes.give_out(house.actor(Role.CLINICIAN), told.id, "text")
    phone_notes.sign(house.actor(Role.CLINICIAN), told.id, TYPED)
    for role in (Role.DISPATCHER, Role.COMPLIANCE, Role.IT_ADMIN):
        with pytest.raises(Forbidden):
            phone_notes.give_out(house.actor(role), told.id, "text")
        with pytest.raises(Forbidden):
            phone_notes.sign(house.actor(role), told.id, TYPED)
    with pytest.raises(NotFound):
        phone_notes.give_out(other.actor(Role.CLINICIAN), told.id, "text")


def test_by_the_pages(house: House, told: Message) -> None:
    client = signed_in(house.people[Role.CLINICIAN])
    page = f"/m/{told.id}/"
    signed = client.post(f"{page}phone-note", TYPED)
    assert (signed.status_code, signed["Location"]) == (302, f"{page}?did=signed#phone-note")
    shown = client.get(page).content.decode()
    assert "Reason: Chest pain &lt;b&gt;&amp;" in shown and "Phone note signed by" in shown
    text, pdf, found = (client.get(f"{page}phone-note.{end}") for end in ("txt", "pdf", "json"))
    assert "Chest pain <b>&" in text.content.decode()
    assert (pdf["Content-Type"], found["Content-Type"]) == ("application/pdf", "application/fhir+json")
    assert all(
        r["Cache-Control"] == "no-store" and "attachment" in r["Content-Disposition"]
        for r in (text, pdf, found)
    )
    assert "chest pain" not in pdf["Content-Disposition"].lower()
    bundle = Bundle.model_validate_json(found.content)
    assert [one.resource.get_resource_type() for one in bundle.entry] == [
        "Communication",
        "DocumentReference",
    ]
    assert client.post(f"{page}phone-note", {"patient": "x" * 121}).status_code == 422
    assert "x" * 121 in client.post(f"{page}phone-note", {"patient": "x" * 121}).content.decode()


def test_the_pdf_shows_every_letter_or_says_that_it_does_not(house: House, told: Message) -> None:
    actor = house.actor(Role.CLINICIAN)
    phone_notes.sign(actor, told.id, TYPED)
    pdf = PdfReader(io.BytesIO(phone_note_pdf.as_pdf(phone_notes.give_out(actor, told.id, "pdf").note)))
    text = "".join(page.extract_text() for page in pdf.pages)
    for words in (
        "Nguyễn Thị Đào",
        "Łukasz Dvořák, husband",
        "Chest pain <b>&",
        "Dr Núñez",
        "talked 4 min 10",
    ):
        assert words in text, words
    assert phone_note_pdf.MISSING not in text
    assert "Nguyễn" not in json.dumps(
        {k: str(v) for k, v in (pdf.metadata or {}).items()}, ensure_ascii=False
    )
    phone_notes.sign(
        actor, told.id, TYPED | {"patient": "王小明", "advice": "long " * 790, "reason": "a\n" * 1900}
    )
    pdf = PdfReader(io.BytesIO(phone_note_pdf.as_pdf(phone_notes.give_out(actor, told.id, "pdf").note)))
    text = "".join(page.extract_text() for page in pdf.pages)
    assert "□□□" in text and "text copy has it" in text and text.count("long") == 790
    assert len(pdf.pages) > 2


def test_the_resources_say_what_happened(house: House, told: Message) -> None:
    actor = house.actor(Role.CLINICIAN)
    note_id = phone_notes.sign(actor, told.id, TYPED)
    client = signed_in(actor.user)
    made = json.loads(client.get(f"/m/{told.id}/phone-note.json").content)
    call, left = (one["resource"] for one in made["entry"])
    assert (call["status"], call["priority"], call["identifier"][0]["value"]) == (
        "completed",
        "urgent",
        note_id,
    )
    assert call["contained"][0]["name"] == [{"text": "Nguyễn Thị Đào"}]
    assert left["identifier"][0]["value"] == told.id and left["docStatus"] == "preliminary"
    assert [c["attachment"]["contentType"] for c in left["content"]] == [
        "text/plain; charset=utf-8",
        "audio/wav",
    ]
    assert "data" not in left["content"][1]["attachment"], "the recording itself stays here"


def test_a_damaged_note_is_said_to_be_damaged(house: House, told: Message) -> None:
    assert phone_note.read("{") is None
    assert phone_note.read('{"version": 2}') is None
    assert phone_note.read('{"version": 1, "tries": 3}') is None
    actor = house.actor(Role.CLINICIAN)
    phone_notes.sign(actor, told.id, TYPED)
    Note.objects.update(text_sealed=b"\x01" + b"x" * 60)
    assert "This note is damaged" in signed_in(actor.user).get(f"/m/{told.id}/").content.decode()
    with pytest.raises(NotFound):
        phone_notes.give_out(actor, told.id, "text")


def test_tries_and_typed_words_survive_their_text() -> None:
    now = utc_now().replace(microsecond=0)
    note = phone_note.PhoneNote(
        "0" * 26, "P", "1", "Europe/Madrid", "review", "es", now, "", "", None, "A", now,
        (Tried(now, "A", "left_word"), Tried(now, "A", "reached", 7)), "reached",
    )  # fmt: skip
    signed = phone_note.sign(note, Written("a", "b", "c", "d", "e"), "A", "clinician", now)
    assert phone_note.read(phone_note.to_text(signed)) == signed
